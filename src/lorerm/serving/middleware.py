"""ASGI middleware, one class for each concern. It is written for speed, because every request passes all of it."""

from __future__ import annotations

import asyncio
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lorerm.serving.connections import OVERLOADED
from lorerm.serving.errors import CAUSE, ApiError, busy, cause_of, error_response
from lorerm.serving.keys import KeyRing, is_loopback, known_key, scopes_of
from lorerm.serving.metrics import Metrics
from lorerm.serving.request_context import client, request_id
from lorerm.serving.settings import Settings

# Status recorded in the metrics if the client closes the connection before the response.
_CLIENT_CLOSED = 499
# Paths that need no API key, because their responses contain nothing about users.
_PUBLIC = ("/health", "/ready")
_ADMIN = "/admin/"
# Maximum number of bytes of all bodies that a process handles at the same time. Parsing takes several times the memory.
_MAX_BODIES = 256 * 2**20
_WITHOUT_BODY = ("GET", "HEAD", "DELETE", "OPTIONS")
# The web page can load files of this server only, and no other site can embed it.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_API_HEADERS = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))
_PAGE_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", _PAGE_POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-cache"),  # after an upgrade, no cached file of the old version may be used
)


def ordered_middleware(settings: Settings, metrics: Metrics) -> list[Middleware]:
    """Return all middleware, the outermost first.

    Browsers' preflight requests carry no key, so CORS comes before authentication. Middleware that only observes
    or adds headers comes next, so that it also sees the error responses. The limits come last, so that
    `ErrorResponses` sends their errors too.
    """
    cors = Middleware(
        CORSMiddleware,
        allow_origins=list(settings.origins),
        allow_methods=["GET", "POST", "PUT", "DELETE"],
        allow_headers=["Authorization", "Content-Type", "Idempotency-Key"],
    )
    return [
        *([cors] if settings.origins else []),
        Middleware(RawPath),
        Middleware(RequestMetrics, metrics=metrics),
        Middleware(SecurityHeaders),
        Middleware(ErrorResponses),
        Middleware(ConnectionLimit),
        Middleware(Authentication, keys=KeyRing(settings.keys, settings.key_file)),
        Middleware(BodySizeLimit, max_bytes=settings.max_body),
        Middleware(TimeLimit, seconds=settings.timeout),
    ]


class _HttpMiddleware(ABC):
    """ASGI middleware for HTTP requests. Other events, such as the start of the application, pass unchanged."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        handle = self._handle if scope["type"] == "http" else self.app
        return handle(scope, receive, send)

    @abstractmethod
    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class RawPath(_HttpMiddleware):
    """Keeps the path percent-encoded: an encoded slash is part of a user id and does not separate segments."""

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["path"] = scope["raw_path"].partition(b"?")[0].decode("ascii", "replace")
        await self.app(scope, receive, send)


class RequestMetrics(_HttpMiddleware):
    """Counts every request by the template of its route and its status, and measures its time."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        super().__init__(app)
        self._metrics = metrics

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, status = time.perf_counter(), _CLIENT_CLOSED

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            if status == 503:
                self._metrics.count_unavailable(scope.get(CAUSE, "other"))
            self._metrics.count(scope["method"], route, status, time.perf_counter() - started)


class SecurityHeaders(_HttpMiddleware):
    """Adds headers to every response: for security, for caching, and with the request's id in the log."""

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = _PAGE_HEADERS if _is_page(scope["path"]) else _API_HEADERS

        made = secrets.token_hex(8)
        request_id.set(made)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *headers, (b"x-request-id", made.encode())]
            await send(message)

        await self.app(scope, receive, send_with_headers)


class ErrorResponses(_HttpMiddleware):
    """Sends an error response for every exception, unless the response has already started."""

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def send_and_note(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except ClientDisconnect:  # raised while the body is read: no response can be sent any more
            pass
        except Exception as error:
            response = error_response(error)
            scope[CAUSE] = cause_of(error)
            if not started:
                await response(scope, receive, send)


class ConnectionLimit(_HttpMiddleware):
    """Rejects requests on connections above the maximum (see `connections`), except those for the server's health."""

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if OVERLOADED in scope and scope["path"] not in _PUBLIC:
            raise busy("the server has too many connections", "connections", {"Connection": "close"})
        await self.app(scope, receive, send)


class Authentication(_HttpMiddleware):
    """Rejects requests without a known API key. If the server has no keys, only requests to localhost are accepted.

    The check of the host name prevents DNS rebinding: a web page can make its domain name point to this machine.
    """

    def __init__(self, app: ASGIApp, keys: KeyRing) -> None:
        super().__init__(app)
        self._keys = keys

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, headers, entries = scope["path"], dict(scope["headers"]), self._keys.entries()
        if not entries:
            if not is_loopback(_host_name(headers.get(b"host", b"").decode("latin-1"))):
                problem = "this server has no API keys and accepts only requests to this machine"
                remedy = "use the host localhost, or start the server with --api-keys"
                raise ApiError(403, "host_not_allowed", problem, remedy)
            if path.startswith(_ADMIN):  # without keys, any web page could send such a request to this machine
                problem, remedy = "this server has no API keys", "send the signal SIGHUP to the server instead"
                raise ApiError(403, "forbidden", problem, remedy)
        elif not (path in _PUBLIC or _is_page(path)):
            known = known_key(headers.get(b"authorization", b""), entries)
            if known is None:
                problem, remedy = "the API key is missing or unknown", "send the header `Authorization: Bearer KEY`"
                raise ApiError(401, "unauthorized", problem, remedy, {"WWW-Authenticate": "Bearer"})
            scope_of_key = _needed_scope(scope["method"], path)
            if scope_of_key not in scopes_of(known):
                problem = f"the API key does not have the scope {scope_of_key!r}"
                raise ApiError(403, "forbidden", problem, "use another key, or ask the server's operator")
            client.set(known[:64])
        await self.app(scope, receive, send)


class BodySizeLimit(_HttpMiddleware):
    """Rejects a body that is too large, by its declared size or by the bytes received.

    It also limits the bytes of all requests that are handled at the same time.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        super().__init__(app)
        self._max_bytes, self._max_total = max_bytes, max(_MAX_BODIES, 4 * max_bytes)
        self._total = 0

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        declared = dict(scope["headers"]).get(b"content-length", b"")
        # A number of 20 digits exceeds every limit, so the first 20 digits are enough. `int` would fail for a very long
        # number.
        self._check(int(declared[:20]) if declared.isdigit() else 0)
        received = 0

        async def receive_and_count() -> Message:
            nonlocal received
            message = await receive()
            size = len(message.get("body", b""))
            received, self._total = received + size, self._total + size
            self._check(received)
            if self._total > self._max_total:
                raise busy("the server is handling too many large requests", "memory")
            return message

        try:
            await self.app(scope, receive_and_count, send)
        finally:
            self._total -= received

    def _check(self, n_bytes: int) -> None:
        if n_bytes > self._max_bytes:
            remedy = "split the request, or start the server with a larger --max-body"
            raise ApiError(413, "too_large", f"the body has more than {self._max_bytes:,} bytes", remedy)


class TimeLimit(_HttpMiddleware):
    """Cancels a request that takes longer than `seconds`, including the arrival of its body.

    The response has status 408 if the body has not arrived, otherwise 504. A `TimeoutError` that the application raises
    is treated in the same way.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        super().__init__(app)
        self._seconds = seconds

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        is_late, has_body = False, scope["method"] in _WITHOUT_BODY

        def cancel() -> None:
            nonlocal is_late
            is_late = True
            if task is not None:
                task.cancel()

        async def receive_and_note() -> Message:
            nonlocal has_body
            message = await receive()
            has_body = has_body or not message.get("more_body", False)
            return message

        timer = asyncio.get_running_loop().call_later(self._seconds, cancel)
        try:
            await self.app(scope, receive_and_note, send)
        except (asyncio.CancelledError, TimeoutError) as error:
            if isinstance(error, asyncio.CancelledError) and not is_late:
                raise
            raise _timeout(has_body=has_body) from None
        finally:
            timer.cancel()


def _timeout(*, has_body: bool) -> ApiError:
    if not has_body:
        return ApiError(408, "timeout", "the request's body did not arrive in time", "send the request again")
    return ApiError(
        504, "timeout", "the request took too long and was stopped", "send it again, or split it into smaller ones"
    )


def _needed_scope(method: str, path: str) -> str:
    """Return the scope that a request's API key needs."""
    if path.startswith(_ADMIN):
        return "admin"
    if method == "DELETE" or path == "/v1/user/delete":
        return "delete"
    return "write" if method == "PUT" else "read"


def _is_page(path: str) -> bool:
    return path == "/" or path.startswith("/page/")


def _host_name(header: str) -> str:
    """Return the name or address in a `Host` header, without its port."""
    if header.startswith("["):
        return header.partition("]")[0] + "]"
    return header.partition(":")[0]
