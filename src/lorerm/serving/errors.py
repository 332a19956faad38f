"""Error responses: every error has the same JSON body, with a code, a message and a remedy."""

from __future__ import annotations

import logging
import sqlite3
import traceback
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from lorerm.errors import DataError, FolderBusyError, LorermError, ModelError, RunError, UnknownUserError

log = logging.getLogger("lorerm.serving")

CAUSE = "lorerm.cause"
"""The key in a request's ASGI scope under which the cause of an error is stored (see `cause_of`)."""
_RETRY_AFTER = {"Retry-After": "1"}
# Type of the error, and status and code of the response. The first matching type is used. "model_cannot": the model
# cannot do what the request asks for. "run_cannot": the server cannot change the model's files.
_STATUS_OF: tuple[tuple[type[LorermError], int, str], ...] = (
    (UnknownUserError, 404, "unknown_user"),
    (FolderBusyError, 503, "busy"),
    (DataError, 422, "invalid_request"),
    (ModelError, 409, "model_cannot"),
    (RunError, 409, "run_cannot"),
)
_ROUTER_MESSAGES = {404: "there is nothing at this path", 405: "this path does not support the request's method"}
_SEE_DESCRIPTION = "compare the request with the description at /openapi.json"


class ErrorDetail(BaseModel):
    """An error: its code, what is wrong (message) and what to do (remedy)."""

    code: str
    message: str
    remedy: str


class InvalidField(BaseModel):
    """An invalid part of a request, in FastAPI's format."""

    loc: list[str | int]
    msg: str
    type: str


class ErrorBody(BaseModel):
    """The body of every error response.

    `detail` contains the same error in FastAPI's format, which clients of other servers read: a list of invalid fields
    for status 422, otherwise a text.
    """

    error: ErrorDetail
    detail: str | list[InvalidField]


class ApiError(HTTPException):
    """Error whose status, code, message and remedy are sent to the client unchanged."""

    def __init__(
        self, status: int, code: str, problem: str, remedy: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, problem, headers)
        self.code, self.remedy = code, remedy
        self.cause = "other"


def busy(problem: str, cause: str, headers: Mapping[str, str] | None = None) -> ApiError:
    """Return the error for a request that can succeed if it is sent again a second later.

    `cause` is the label under which the metrics count the error.
    """
    error = ApiError(503, "busy", problem, "send the request again later", {**_RETRY_AFTER, **(headers or {})})
    error.cause = cause
    return error


def cause_of(error: Exception) -> str:
    """Return the label under which the metrics count an error with status 503."""
    if isinstance(error, ApiError):
        return error.cause
    return "model_files" if isinstance(error, FolderBusyError) else "database"


def unknown_user(user: str) -> ApiError:
    """Return the error for a user who is not in the model's files and has given no feedback."""
    return ApiError(
        404,
        "unknown_user",
        f"user {user!r:.80} is unknown",
        'send feedback of the user first, or ask for the population model with "population": true',
    )


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI entries for the errors that all routes have in common, and for the further `statuses`."""
    found = {400, 401, 403, 408, 413, 415, 422, 503, 504, *statuses}
    return {status: {"model": ErrorBody, "description": HTTPStatus(status).phrase} for status in sorted(found)}


def error_response(error: Exception) -> JSONResponse:
    """Return the response for an exception. Unexpected errors are logged, without anything that a client sent."""
    if isinstance(error, ApiError):
        return _response(error.status_code, error.code, error.detail, error.remedy, error.headers)
    if isinstance(error, HTTPException):  # raised by starlette's router
        code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
        message = _ROUTER_MESSAGES.get(error.status_code, error.detail)
        return _response(error.status_code, code, message, _SEE_DESCRIPTION, error.headers)
    if isinstance(error, RequestValidationError):
        return _invalid_request(error)
    if isinstance(error, LorermError):
        for kind, status, code in _STATUS_OF:
            if isinstance(error, kind):
                headers = _RETRY_AFTER if status == 503 else None
                return _response(status, code, error.problem, error.remedy, headers)
    if isinstance(error, SQLAlchemyError | sqlite3.Error):
        return _database_unavailable(error)
    return _internal_error(error)


async def handle_error(request: Request, error: Exception) -> JSONResponse:
    """Return the error response for an exception (a FastAPI exception handler)."""
    request.scope[CAUSE] = cause_of(error)
    return error_response(error)


def _response(
    status: int,
    code: str,
    message: str,
    remedy: str,
    headers: Mapping[str, str] | None = None,
    loc: Sequence[str | int] = (),
) -> JSONResponse:
    text = f"{message}: {remedy}"
    detail = [{"loc": [*loc], "msg": text, "type": code}] if status == 422 else text
    content = {"error": {"code": code, "message": message, "remedy": remedy}, "detail": detail}
    return JSONResponse(content, status, dict(headers or {}))


def _invalid_request(error: RequestValidationError) -> JSONResponse:
    """Return a response that names the first invalid field, without its value."""
    errors = error.errors()
    field = ".".join(map(str, errors[0]["loc"]))
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    message = f"{field}: {errors[0]['msg']}{more}"
    return _response(422, "invalid_request", message, _SEE_DESCRIPTION, loc=errors[0]["loc"])


def _database_unavailable(error: Exception) -> JSONResponse:
    """Log the error's code, but not its message, which can contain data of the request.

    It is unknown whether a write succeeded, so the client is asked to send the same request again.
    """
    cause = getattr(error, "orig", None) or error
    code = getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None) or "no code"  # e.g. SQLITE_FULL
    log.error("the database failed: %s (%s)", type(error).__name__, code)
    return _response(
        503,
        "database_unavailable",
        "the database cannot be used at the moment",
        "send the same request again, with the same idempotency key",
        _RETRY_AFTER,
    )


def _internal_error(error: Exception) -> JSONResponse:
    """Log where the error was raised, but not its message, which can contain data of the request."""
    frames = traceback.extract_tb(error.__traceback__)
    places = " < ".join(f"{frame.name} ({frame.filename}:{frame.lineno})" for frame in reversed(frames[-6:]))
    log.error("%s in %s", type(error).__name__, places)
    return _response(
        500, "internal_error", "the server failed because of a bug", "ask the server's operator to look at the log"
    )
