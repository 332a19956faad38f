"""What every request passes before its route: who may ask, how much, how long; and what is said when it fails."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect

from lorerm.serving.errors import ApiError, internal_error
from lorerm.serving.keys import is_known, is_loopback

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from lorerm.serving.metrics import Metrics
    from lorerm.serving.settings import Settings

# What needs no key: nothing of it is about anybody.
_OPEN = ("/health", "/ready")
_OPEN_FOLDER = "/page/"
_WITHOUT_BODY = ("GET", "HEAD", "DELETE", "OPTIONS")
# The page's own files, and nothing from anywhere else.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


_HEADERS = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))
_PAGE_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", PAGE_POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-cache"),  # its files belong together, and to this version
)


class Gate:
    """ASGI middleware around all routes.

    It is on the way of every request, and written to take little of its time.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer that it may not pass."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # As it was sent: a slash that belongs to an id is no slash of the path.
        scope["path"] = scope["raw_path"].partition(b"?")[0].decode("ascii", "replace")
        started, call = time.perf_counter(), _Call(receive, send, scope, self._settings.max_body)
        try:
            self._check(scope)
            call.end_after(self._settings.timeout)
            await self._app(scope, call.receive, call.send)
        except asyncio.CancelledError:
            if not call.is_late:
                raise
            await call.fail(scope, TimeoutError())
        except ClientDisconnect:  # in the middle of the body: nobody's mistake, and nobody is there to be told
            pass
        except Exception as error:
            await call.fail(scope, error)
        finally:
            call.ended()
            path = getattr(scope.get("route"), "path", "other")
            self._metrics.count(scope["method"], path, call.status, time.perf_counter() - started)

    def _check(self, scope: Scope) -> None:
        headers, path = dict(scope["headers"]), scope["path"]
        if not self._settings.keys:
            if not is_loopback(_host_of(headers.get(b"host", b"").decode("latin-1"))):
                raise ApiError(
                    403,
                    "host_not_allowed",
                    "without API keys, only this machine is answered",
                    "ask for localhost, or start the server with --api-keys",
                )
        elif not (_is_open(path) or is_known(headers.get(b"authorization", b""), self._settings.keys)):
            raise ApiError(
                401,
                "unauthorized",
                "the API key is missing or not known",
                "send the header `Authorization: Bearer KEY`",
                {"WWW-Authenticate": "Bearer"},
            )
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > self._settings.max_body:
            raise too_large(self._settings.max_body)


class _Call:
    """One request: counts what comes in, notes what goes out."""

    def __init__(self, receive: Receive, send: Send, scope: Scope, most: int) -> None:
        self._receive, self._send, self._most = receive, send, most
        self._headers = _PAGE_HEADERS if _is_page(scope["path"]) else _HEADERS
        self._received = 0
        self._complete = scope["method"] in _WITHOUT_BODY
        self._timer: asyncio.TimerHandle | None = None
        self.is_late = False
        self.status: int = 499  # the client went away before there was an answer

    def end_after(self, seconds: float) -> None:
        """Cancel the task that this is called in, in so many seconds: `asyncio.timeout`, and several times as fast."""
        task = asyncio.current_task()

        def end() -> None:
            self.is_late = True
            if task is not None:
                task.cancel()

        self._timer = asyncio.get_running_loop().call_later(seconds, end)

    def ended(self) -> None:
        """Let the time be."""
        if self._timer is not None:
            self._timer.cancel()

    async def receive(self) -> Message:
        message = await self._receive()
        self._received += len(message.get("body", b""))
        self._complete = self._complete or not message.get("more_body", False)
        if self._received > self._most:
            raise too_large(self._most)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], *self._headers]
        await self._send(message)

    async def fail(self, scope: Scope, error: Exception) -> None:
        """Answer with an error, unless an answer has begun."""
        self.ended()
        if isinstance(error, TimeoutError):
            error = self._too_late()
        response = error.response() if isinstance(error, ApiError) else internal_error(error)
        if self.status == 499:
            await response(scope, self.receive, self.send)

    def _too_late(self) -> ApiError:
        if not self._complete:
            return ApiError(408, "timeout", "the body did not arrive in time", "send it again")
        return ApiError(
            504, "timeout", "the work was not done in time", "send the same request again, or a smaller one"
        )


def too_large(most: int) -> ApiError:
    """Return the error for a body beyond the limit."""
    return ApiError(413, "too_large", f"the body has more than {most} bytes", "send less at once, or raise --max-body")


def _is_page(path: str) -> bool:
    return path == "/" or path.startswith(_OPEN_FOLDER)


def _is_open(path: str) -> bool:
    return path in _OPEN or _is_page(path)


def _host_of(header: str) -> str:
    """Return the name in a header `Host`, without its port."""
    if header.startswith("["):
        return header.partition("]")[0] + "]"
    return header.partition(":")[0]
