"""Access: API keys, or without keys only clients on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lorerm.serving.errors import ApiError
from lorerm.serving.keys import is_known, is_loopback
from lorerm.serving.middleware.base import HttpMiddleware

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.types import ASGIApp, Receive, Scope, Send

# Paths that need no key, because nothing there is about a user.
_PUBLIC = ("/health", "/ready")


class Authentication(HttpMiddleware):
    """Rejects requests without a known API key; of a server without keys, requests that name another host.

    The check of the host keeps web pages out whose domain name was made to point to this machine (DNS rebinding).

    Parameters
    ----------
    app
        The ASGI application inside.
    keys
        SHA-256 of each API key, as hexadecimal digits; may be empty.
    """

    def __init__(self, app: ASGIApp, keys: Sequence[str]) -> None:
        super().__init__(app)
        self._keys = keys

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._check(scope["path"], dict(scope["headers"]))
        await self.app(scope, receive, send)

    def _check(self, path: str, headers: Mapping[bytes, bytes]) -> None:
        if not self._keys:
            if not is_loopback(_host_name(headers.get(b"host", b"").decode("latin-1"))):
                raise ApiError(
                    403,
                    "host_not_allowed",
                    "this server has no API keys and answers only requests to this machine",
                    "use the host localhost, or start the server with --api-keys",
                )
        elif not (path in _PUBLIC or is_page(path) or is_known(headers.get(b"authorization", b""), self._keys)):
            raise ApiError(
                401,
                "unauthorized",
                "the API key is missing or unknown",
                "send the header `Authorization: Bearer KEY`",
                {"WWW-Authenticate": "Bearer"},
            )


def is_page(path: str) -> bool:
    """Return whether a path is the page or one of its files."""
    return path == "/" or path.startswith("/page/")


def _host_name(header: str) -> str:
    """Return the name or address in a `Host` header, without its port."""
    if header.startswith("["):
        return header.partition("]")[0] + "]"
    return header.partition(":")[0]
