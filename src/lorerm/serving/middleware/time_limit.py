"""Limit on the time of a request."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lorerm.serving.errors import ApiError
from lorerm.serving.middleware.base import HttpMiddleware

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_WITHOUT_BODY = ("GET", "HEAD", "DELETE", "OPTIONS")


class TimeLimit(HttpMiddleware):
    """Cancels a request that takes longer than so many seconds, the arrival of its body included.

    The error is 408 if the body has not arrived, else 504; also if the application itself gave up (`TimeoutError`).
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
        except asyncio.CancelledError:
            if not is_late:
                raise
            raise _timeout(has_body=has_body) from None
        except TimeoutError:
            raise _timeout(has_body=has_body) from None
        finally:
            timer.cancel()


def _timeout(*, has_body: bool) -> ApiError:
    if not has_body:
        return ApiError(408, "timeout", "the request's body did not arrive in time", "send the request again")
    return ApiError(
        504, "timeout", "the request took too long and was stopped", "send it again, or split it into smaller requests"
    )
