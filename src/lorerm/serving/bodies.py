"""Bodies of requests and answers as JSON, read and written in one step: what a rerank of embeddings spends most on."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from pydantic.json_schema import models_json_schema
from pydantic_core import to_json

from lorerm.serving.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Receive, Scope, Send

# To list more takes long, and gigabytes.
_MOST_MISTAKES = 1000

_Body = TypeVar("_Body", bound=BaseModel)
_REFERENCE = "#/components/schemas/{model}"
_described: list[type[BaseModel]] = []


async def read_body(request: Request, kind: type[_Body], likely: type[_Body] | None = None) -> _Body:
    """Read a request's body.

    `likely` is a narrower kind that most bodies are of, and that takes less time to check: it is tried first.

    It holds no lone surrogates and is not nested without end; of a name that comes twice, the last counts.

    Raises
    ------
    ApiError
        If it is no JSON, or is not said to be: what a browser sends from any page without asking is not read.
    RequestValidationError
        If it is no `kind`.
    """
    kind_of_body = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind_of_body != "application/json" or request.headers.get("content-encoding", "identity") != "identity":
        raise ApiError(
            415,
            "unsupported_media_type",
            "the body is no plain JSON",
            "send `Content-Type: application/json`, not compressed",
        )
    body = await request.body()
    if likely is not None:
        with suppress(ValidationError):
            return likely.__pydantic_validator__.validate_json(body)  # type: ignore[no-any-return]
    try:
        return kind.__pydantic_validator__.validate_json(body)  # type: ignore[no-any-return]
    except ValidationError as error:
        if error.error_count() > _MOST_MISTAKES:  # names that are not known, say
            raise ApiError(422, "invalid_request", "much of the body is wrong", "see /openapi.json") from None
        found = error.errors(include_url=False, include_context=False, include_input=False)
    if found[0]["type"] == "json_invalid":
        raise ApiError(400, "invalid_json", found[0]["msg"], "check what wrote it")
    raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in found])


class DirectRoute(APIRoute):
    """A route whose function takes the request alone and returns the answer: nothing that FastAPI could work out."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - FastAPI's own
        super().__init__(*arguments, **options)
        self.app = self._answer

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self.endpoint(Request(scope, receive, send))
        await response(scope, receive, send)


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
