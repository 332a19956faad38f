"""Response headers that tell browsers and proxies what they may do with a response."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lorerm.serving.middleware.authentication import is_page
from lorerm.serving.middleware.base import HttpMiddleware

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

# The page loads its own files only, and no other site can embed it.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_API_HEADERS = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))
_PAGE_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", _PAGE_POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-cache"),  # files of two versions must not be mixed
)


class SecurityHeaders(HttpMiddleware):
    """Adds the headers to every response."""

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = _PAGE_HEADERS if is_page(scope["path"]) else _API_HEADERS

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *headers]
            await send(message)

        await self.app(scope, receive, send_with_headers)
