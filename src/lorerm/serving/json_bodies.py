"""Bodies of requests as JSON, read fast and without surprises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json

from lorerm.serving.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


class JsonRequest(Request):
    """A request whose body is JSON as RFC 8259 has it: no NaN, no lone surrogates, not nested without end."""

    async def json(self) -> Any:  # noqa: ANN401 - whatever a client sends
        """Read the body; of a name that comes twice, the last counts."""
        try:
            return from_json(await self.body(), allow_inf_nan=False)
        except ValueError as error:
            raise ApiError(400, "invalid_json", f"the body is no JSON ({error})", "check what wrote it") from None


class JsonRoute(APIRoute):
    """A route whose requests are read so."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the route's handler."""
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            return await handle(JsonRequest(request.scope, request.receive))

        return handle_json
