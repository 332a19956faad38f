"""Limit on the size of request bodies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lorerm.serving.errors import ApiError
from lorerm.serving.middleware.base import HttpMiddleware

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodySizeLimit(HttpMiddleware):
    """Rejects a body that is declared too large, or turns out to be while it is read."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        super().__init__(app)
        self._max_bytes = max_bytes

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        declared = dict(scope["headers"]).get(b"content-length", b"")
        if declared.isdigit() and int(declared[:20]) > self._max_bytes:
            raise self._too_large()
        received = 0

        async def receive_and_count() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise self._too_large()
            return message

        await self.app(scope, receive_and_count, send)

    def _too_large(self) -> ApiError:
        return ApiError(
            413,
            "too_large",
            f"the body has more than {self._max_bytes:,} bytes",
            "split the request, or start the server with a larger --max-body",
        )
