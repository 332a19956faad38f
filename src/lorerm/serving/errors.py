"""What a client is told when something is wrong: one shape, whatever it is that failed."""

from __future__ import annotations

import logging
import sqlite3
import traceback
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from lorerm.errors import DataError, FolderBusyError, LorermError, ModelError, RunError, UnknownUserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI, Request

log = logging.getLogger("lorerm.serving")

RETRY_AFTER = {"Retry-After": "1"}
_STATUS_OF: tuple[tuple[type[LorermError], int, str], ...] = (
    (UnknownUserError, 404, "unknown_user"),
    (FolderBusyError, 503, "busy"),
    (DataError, 422, "invalid_request"),
    (ModelError, 409, "model_cannot"),
    (RunError, 409, "run_cannot"),
)


class ErrorDetail(BaseModel):
    """What is wrong, and what to do about it."""

    code: str
    message: str
    remedy: str


class ErrorBody(BaseModel):
    """The body of every answer that is an error."""

    error: ErrorDetail


class ApiError(HTTPException):
    """An error for the client, to be raised wherever it is found."""

    def __init__(
        self, status: int, code: str, problem: str, remedy: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, problem, headers)
        self.code, self.remedy = code, remedy

    def response(self) -> JSONResponse:
        """Return the error as the client gets it."""
        return _response(self.status_code, self.code, self.detail, self.remedy, self.headers)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI entries of some errors, and of those that every route can answer with."""
    found = {400, 401, 403, 408, 413, 415, 422, 503, 504, *statuses}
    return {status: {"model": ErrorBody, "description": HTTPStatus(status).phrase} for status in sorted(found)}


def add_handlers(app: FastAPI) -> None:
    """Have every error answered in the one shape."""
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(LorermError, _of_lorerm)
    app.add_exception_handler(SQLAlchemyError, _of_database)
    app.add_exception_handler(sqlite3.Error, _of_database)


def internal_error(error: Exception) -> JSONResponse:
    """Log where an error came from, without its message, which can hold what a client sent; and say so little too."""
    frames = traceback.extract_tb(error.__traceback__)
    places = " < ".join(f"{frame.name} ({frame.filename}:{frame.lineno})" for frame in reversed(frames[-6:]))
    log.error("%s in %s", type(error).__name__, places)
    return _response(500, "internal_error", "the server made a mistake", "look into its log")


def _response(
    status: int, code: str, message: str, remedy: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    body = ErrorBody(error=ErrorDetail(code=code, message=message, remedy=remedy))
    return JSONResponse(body.model_dump(), status, dict(headers or {}))


async def _of_http(_: Request, error: Exception) -> JSONResponse:
    if isinstance(error, ApiError):
        return error.response()
    if not isinstance(error, HTTPException):
        raise TypeError
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    return _response(error.status_code, code, str(error.detail), "see /openapi.json", error.headers)


async def _of_validation(_: Request, error: Exception) -> JSONResponse:
    """Name the first place that is wrong, without what stood there."""
    if not isinstance(error, RequestValidationError):
        raise TypeError
    found = error.errors()
    place = ".".join(map(str, found[0]["loc"]))
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return _response(422, "invalid_request", f"{place}: {found[0]['msg']}{more}", "see /openapi.json")


async def _of_lorerm(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, LorermError):
        raise TypeError
    for kind, status, code in _STATUS_OF:
        if isinstance(error, kind):
            return _response(status, code, error.problem, error.remedy, RETRY_AFTER if status == 503 else None)
    return internal_error(error)


async def _of_database(_: Request, error: Exception) -> JSONResponse:
    """Anything that the database cannot do now: whether an answer was kept is unknown until it is sent again."""
    cause = getattr(error, "orig", None) or error
    # Such as SQLITE_FULL; the message itself can hold what was sent.
    code = getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None) or "no code"
    log.error("the database failed: %s (%s)", type(error).__name__, code)
    return _response(
        503, "database_unavailable", "the database does not answer", "send the same request again", RETRY_AFTER
    )
