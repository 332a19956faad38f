"""The user of a request for rewards, named in one of four places."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from lorerm.errors import DataError
from lorerm.serving.errors import ApiError
from lorerm.serving.requested_user import requested_user
from lorerm.serving.reward_schemas import ScoreRequest
from lorerm.serving.settings import Settings
from refusals import refused

SETTINGS = Settings("RUN", "sqlite:///x")
HEADER = replace(SETTINGS, user_header="X-User-Id")


def named(settings=SETTINGS, in_path=None, header=None, **fields):
    headers = [] if header is None else [(b"x-user-id", header)]
    body = ScoreRequest(documents="a", **fields)
    return requested_user(SimpleNamespace(scope={"headers": headers}), body, in_path, "demo", settings)


def test_a_request_can_name_no_user():
    assert named() is named(HEADER) is named(HEADER, header=b"") is None
    assert named(model="demo") is named(model="default/not-specified") is None


@pytest.mark.parametrize("user", ["ann", "ann@example.org", "demo", "a/b", "\u00e9"])
def test_every_place_can_name_the_user(user):
    assert named(in_path=user) == named(user=user) == named(model=f"demo@{user}") == user
    assert named(HEADER, header=user.encode()) == user
    assert named(HEADER, in_path=user, user=user, model=f"demo@{user}", header=user.encode()) == user


def test_a_header_is_read_only_if_the_operator_names_it():
    assert named(header=b"ann") is None
    assert named(replace(HEADER, user_header="X-Other"), header=b"ann") is None


def test_two_users_are_an_error():
    for first, second in [
        ({"user": "ann"}, {"in_path": "ben"}),
        ({"user": "ann"}, {"model": "demo@ben"}),
        ({"header": b"ann"}, {"in_path": "ben"}),
    ]:
        with refused(DataError):
            named(HEADER, **first, **second)


@pytest.mark.parametrize("model", ["other", "other@ann", "demo-2", "DEMO", ""])
def test_another_model_is_refused_unless_the_operator_accepts_any(model):
    with pytest.raises(ApiError) as raised:
        named(model=model)
    assert (raised.value.status_code, raised.value.code) == (404, "unknown_model")
    assert named(replace(SETTINGS, any_model=True), model=model) == ("ann" if "@" in model else None)


def test_the_models_own_name_can_have_an_at_sign():
    body = ScoreRequest(documents="a", model="demo@2@ann")
    assert requested_user(SimpleNamespace(scope={"headers": []}), body, None, "demo@2", SETTINGS) == "ann"


@pytest.mark.parametrize("header", [b"\xff", b"x" * 257, b"a\0b"])
def test_a_header_without_a_valid_id_is_an_error(header):
    with refused(DataError):
        named(HEADER, header=header)


@pytest.mark.parametrize("model", ["demo@", f"demo@{'x' * 257}"])
def test_a_model_with_an_invalid_user_is_an_error(model):
    with refused(DataError):
        named(model=model)
