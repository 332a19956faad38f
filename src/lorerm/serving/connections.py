"""Connections: what comes before and after a request's body is bounded, as the body is by the gate."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_BYTES = 65_536
"""Bytes of a request's line and headers, at most; of trailers, too."""
SECONDS = 30.0
"""Time for a request's line and headers to arrive; on a new connection, from its beginning."""


class Connection(HttpToolsProtocol):
    """uvicorn's, which by itself waits for headers without end, and keeps whatever comes."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(*arguments, **options)
        self._bytes = 0  # since a request's beginning, or since the last piece of its body
        self._in_head = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(SECONDS, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, or close where this leads nowhere."""
        self._bytes += len(data)
        super().data_received(data)
        if self._in_head and self._timer is None:
            self._timer = self.loop.call_later(SECONDS, self.transport.close)
        if self._bytes > MOST_BYTES and not self.transport.is_closing():
            if self._in_head:
                self.send_400_response("The request's line and headers are too long.")
            else:
                self.transport.close()

    def on_message_begin(self) -> None:
        """Note that a request begins."""
        self._bytes, self._in_head = 0, True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Note that a request's headers are there."""
        self._in_head = False
        self._stop_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Note a piece of the body, which the gate counts."""
        self._bytes = 0
        super().on_body(body)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
