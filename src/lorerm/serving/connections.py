"""HTTP connections with limits on the size and the time of what precedes and follows a request's body.

The body's own limits are in `lorerm.serving.middleware`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_BYTES = 65_536
"""The most bytes of a request's line and headers, and of the trailers after its body."""
HEAD_SECONDS = 30.0
"""The time for a request's line and headers to arrive; for the first one, from the start of the connection."""


class LimitedConnection(HttpToolsProtocol):
    """uvicorn's connection with these limits: by default it waits for headers, and stores them, without limit."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(*arguments, **options)
        self._bytes = 0  # since the request began, or since the last part of its body
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
        """Parse the data, and close the connection if the head or the trailers are too long."""
        self._bytes += len(data)
        super().data_received(data)
        if self._in_head and self._timer is None:
            self._timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)
        if self._bytes > MAX_BYTES and not self.transport.is_closing():
            if self._in_head:
                self.send_400_response("The request's line and headers are too long.")
            else:
                self.transport.close()

    def on_message_begin(self) -> None:
        """Start counting the head."""
        self._bytes, self._in_head = 0, True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Stop the timer: the head is complete."""
        self._in_head = False
        self._stop_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Start counting anew: the middleware counts the body."""
        self._bytes = 0
        super().on_body(body)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
