"""HTTP connections with limits on the headers (size and arrival time) and the trailers (size) of a request.

The limits on the body are in `lorerm.serving.middleware`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_BYTES = 65_536
"""Maximum size, in bytes, of the request line with the headers, and of the trailers after the body."""
HEAD_SECONDS = 30.0
"""Seconds within which the request line and the headers must arrive.

For the first request they count from the start of the connection.
"""


class LimitedConnection(HttpToolsProtocol):
    """A uvicorn connection with these limits. Without them, uvicorn waits for headers, and stores them, without end."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(*arguments, **options)
        self._bytes = 0  # received since the request began; set back to 0 at each part of its body
        self._in_head = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer of the first request."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(HEAD_SECONDS, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse received data, and close the connection if the headers or the trailers are too long."""
        self._bytes += len(data)
        super().data_received(data)
        if self._in_head and self._timer is None:
            self._timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)
        if self._bytes > MAX_BYTES and not self.transport.is_closing():
            if self._in_head:
                self.send_400_response("The request line and the headers are too long.")
            else:
                self.transport.close()

    def on_message_begin(self) -> None:
        """Start counting the bytes of the request line and the headers."""
        self._bytes, self._in_head = 0, True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Stop the timer: all headers have arrived."""
        self._in_head = False
        self._stop_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Reset the number of bytes to 0: the middleware counts the body."""
        self._bytes = 0
        super().on_body(body)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
