"""Routing by the path as it was sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lorerm.serving.middleware.base import HttpMiddleware

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send


class RawPath(HttpMiddleware):
    """Keeps the path percent-encoded: an encoded slash is part of a user id and does not separate segments."""

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["path"] = scope["raw_path"].partition(b"?")[0].decode("ascii", "replace")
        await self.app(scope, receive, send)
