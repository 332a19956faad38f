"""The user for whom a request asks for rewards, named in its body, its path, its model's name or a header."""

from __future__ import annotations

from fastapi import Request
from pydantic import TypeAdapter, ValidationError

from lorerm.errors import DataError
from lorerm.serving.errors import ApiError
from lorerm.serving.reward_schemas import RewardRequest
from lorerm.serving.schemas import UserId
from lorerm.serving.settings import Settings

_ID: TypeAdapter[str] = TypeAdapter(UserId)
# The model's name that the client of the Infinity server sends if its caller names no model.
_NOT_SPECIFIED = "default/not-specified"


def requested_user(
    request: Request, body: RewardRequest, in_path: str | None, name: str, settings: Settings
) -> str | None:
    """Return the user that a request names, or None if it names none. `name` is the name of the served model.

    Raises `ApiError` if the request asks for another model, and `DataError` if it names two different users.
    """
    given = {
        "the path": in_path,
        "the field user": body.user,
        "the field model": _user_of_model(body.model, name, any_model=settings.any_model),
    }
    if settings.user_header is not None:
        given[f"the header {settings.user_header}"] = _user_of_header(request, settings.user_header)
    named = {place: user for place, user in given.items() if user is not None}
    if len(set(named.values())) > 1:
        raise DataError(f"the request names different users in {' and '.join(named)}", "name one user")
    return next(iter(named.values()), None)


def _user_of_model(asked: str | None, name: str, *, any_model: bool) -> str | None:
    """Return the user in a model's name `NAME@USER`, or None if the name contains no user."""
    if asked is None or asked in (name, _NOT_SPECIFIED):
        return None
    prefix = f"{name}@"
    if asked.startswith(prefix):
        return _checked(asked.removeprefix(prefix), "the field model")
    if not any_model:
        remedy = f"set `model` to {name!r} or to '{name}@USER', or leave it out"
        raise ApiError(404, "unknown_model", "the server has no model with the requested name", remedy)
    user = asked.partition("@")[2]
    return _checked(user, "the field model") if user else None


def _user_of_header(request: Request, header: str) -> str | None:
    value = dict(request.scope["headers"]).get(header.lower().encode())
    if not value:
        return None
    try:
        return _checked(value.decode(), f"the header {header}")
    except UnicodeDecodeError:
        raise DataError(f"the header {header} is not UTF-8", "send the user's id as UTF-8") from None


def _checked(user: str, place: str) -> str:
    try:
        return _ID.validate_python(user)
    except ValidationError:
        raise DataError(f"{place} has no valid user id", "send an id of 1 to 256 characters") from None
