"""HTTP connections with limits: on a request's headers and trailers, on pipelined requests, and on unread responses.

The limits on the body are in `lorerm.serving.middleware`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

log = logging.getLogger("lorerm.serving")

MAX_CONNECTIONS = 1000
"""Maximum number of connections of a process.

If a further connection is opened, the connection that has waited longest for its client (to send a request, or to read
a response) is closed. If no connection waits for its client, requests on the new one are marked as `OVERLOADED`.
"""
OVERLOADED = "lorerm.overloaded"
"""The key in a request's ASGI scope that marks a request on a connection above `MAX_CONNECTIONS`."""
MAX_PIPELINED = 4
"""Maximum number of requests that a client may send on a connection before the response to an earlier one is complete.

Further requests are ignored, and the connection is closed after the response to the last accepted request.
"""
MAX_BYTES = 65_536
"""Maximum size, in bytes, of the request line with the headers, and of the trailers after the body."""
HEAD_SECONDS = 30.0
"""Seconds within which the request line and the headers must arrive.

For the first request, the time begins when the connection is opened.
"""
READ_SECONDS = 10.0
"""Seconds within which a client must read `READ_BYTES` bytes of its responses, or all that is left of them."""
READ_BYTES = 16_384


class LimitedConnection(HttpToolsProtocol):
    """uvicorn's connection with the limits of this module.

    uvicorn itself waits for clients without a time limit, and stores any number of pipelined requests.

    A normal close waits until the client has read everything. So the connection of a client that reads too little is
    aborted, which does not wait.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(*arguments, **options)
        self._bytes = 0  # number of bytes received since the request began, or since the last part of its body
        self._in_head = False
        self._ignores_requests = False
        self._overloaded = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._read_timer: asyncio.TimerHandle | None = None
        self.active = self.loop.time()
        """Time of the event loop at which the client last sent data, or its last response was complete."""
        self._n_responses = 0
        # At the last check: number of bytes that the client had not read, and number of complete responses.
        self._unread = 0, 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timers. If there are too many connections, close one of them."""
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_SECONDS, transport.abort)
        self._read_timer = self.loop.call_later(READ_SECONDS, self._check_reading)
        self._overloaded = len(self.connections) > MAX_CONNECTIONS and not self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers."""
        self._stop_head_timer()
        if self._read_timer is not None:
            self._read_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse received data, and close the connection if the headers or the trailers are too long."""
        self.active = self.loop.time()
        if self._ignores_requests:
            return
        self._bytes += len(data)
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            log.warning("a client asked to change to another protocol; the server continues with HTTP")
        except httptools.HttpParserError:
            if not self._ignores_requests:
                log.warning("a client sent data that is not valid HTTP, and got status 400")
                self.send_400_response("Invalid HTTP request received.")
            return
        if self._in_head and self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.abort)
        if self._bytes > MAX_BYTES and not self.transport.is_closing():
            if self._in_head:
                self.send_400_response("The request line and the headers are too long.")
            else:
                self.transport.close()

    def on_message_begin(self) -> None:
        """Start counting the bytes of the request line and the headers; stop parsing if too many requests wait."""
        if len(self.pipeline) >= MAX_PIPELINED:
            self._ignores_requests = True
            self.cycle.keep_alive = False  # `cycle` belongs to the last accepted request
            raise _TooManyRequestsAheadError
        self._bytes, self._in_head = 0, True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Stop the timer: all headers have arrived."""
        self._in_head = False
        self._stop_head_timer()
        if self._overloaded or len(self.tasks) >= MAX_CONNECTIONS:
            self.scope[OVERLOADED] = True  # type: ignore[literal-required]
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Reset the number of bytes to 0: the middleware counts the body."""
        self._bytes = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        """Count the response."""
        self.active = self.loop.time()
        self._n_responses += 1
        super().on_response_complete()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _check_reading(self) -> None:
        """Abort the connection if its client has read too little since the last check; otherwise check again later."""
        before, responses = self._unread
        self._unread = unread, _ = self.transport.get_write_buffer_size(), self._n_responses
        if unread and before and responses == self._n_responses and before - unread < READ_BYTES:
            self.transport.abort()
        else:
            self._read_timer = self.loop.call_later(READ_SECONDS, self._check_reading)

    def _make_room(self) -> bool:
        """Abort the connection that has waited longest for its client. Return False if none waits."""
        others = (each for each in self.connections if isinstance(each, LimitedConnection) and each is not self)
        longest = min((each for each in others if each.waits_for_client()), key=lambda each: each.active, default=None)
        if longest is None:
            return False
        self.connections.discard(longest)
        longest.transport.abort()
        return True

    def waits_for_client(self) -> bool:
        """Return whether the connection waits until its client sends the rest of a request or reads a response."""
        cycle = self.cycle
        complete = cycle is None or cycle.response_complete or cycle.more_body
        return complete or self._in_head or self.transport.get_write_buffer_size() > 0


class _TooManyRequestsAheadError(Exception):
    """Stops the parser at a request that is ignored."""
