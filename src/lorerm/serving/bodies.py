"""Bodies of requests and answers as JSON, read and written in one step: what a rerank of embeddings spends most on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from fastapi import Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from pydantic.json_schema import models_json_schema
from pydantic_core import from_json, to_json

from lorerm.serving.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from fastapi import Request

_Body = TypeVar("_Body", bound=BaseModel)
_REFERENCE = "#/components/schemas/{model}"
_described: list[type[BaseModel]] = []


async def read_body(request: Request, kind: type[_Body]) -> _Body:
    """Read a request's body.

    It is JSON as RFC 8259 has it: no NaN, no lone surrogates, not nested without end. Of a name that comes twice, the
    last counts.

    Raises
    ------
    ApiError
        If it is no JSON.
    RequestValidationError
        If it is no `kind`.
    """
    try:
        value = from_json(await request.body(), allow_inf_nan=False)
    except ValueError as error:
        raise ApiError(400, "invalid_json", f"the body is no JSON ({error})", "check what wrote it") from None
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in found]) from None


class DirectRoute(APIRoute):
    """A route whose function takes the request alone and returns the answer: nothing that FastAPI could work out."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the function itself."""
        return cast("Callable[[Request], Coroutine[Any, Any, Response]]", self.endpoint)


def write_body(value: Mapping[str, Any]) -> Response:
    """Return an answer that holds a dictionary, which has the form of the route's `response_model`."""
    return Response(to_json(value), media_type="application/json")


def described(kind: type[BaseModel]) -> dict[str, Any]:
    """Return the entry `openapi_extra` of a route whose body is read by `read_body`."""
    _described.append(kind)
    schema = {"$ref": _REFERENCE.format(model=kind.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def definitions() -> dict[str, Any]:
    """Return the schemas of all bodies that were described."""
    kinds = [(kind, "validation") for kind in dict.fromkeys(_described)]
    _, found = models_json_schema(kinds, ref_template=_REFERENCE)  # type: ignore[arg-type]
    return dict(found["$defs"])
