"""Error responses for exceptions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect

from lorerm.serving.errors import error_response
from lorerm.serving.middleware.base import HttpMiddleware

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send


class ErrorResponses(HttpMiddleware):
    """Sends the error response for any exception; if the response has started, the exception is only logged."""

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def send_and_note(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except ClientDisconnect:  # while the body was read: nobody waits for a response
            pass
        except Exception as error:
            response = error_response(error)
            if not started:
                await response(scope, receive, send)
