"""The calls in docs/http-api.md work, and their responses have the documented form."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from starlette.testclient import TestClient

from lorerm.serving.app import create_app
from lorerm.serving.settings import Settings
from servers import prepared

DOCS = Path(__file__).parents[2] / "docs"
PAGE, HOW_TO, CLIENTS = ((DOCS / name).read_text("utf-8") for name in ("http-api.md", "serve.md", "clients.md"))
CALL = re.compile(r"^```sh\n(curl .*?)^```$(?:\s*^```json\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
CALLS = [(shlex.split(found[1]), found[2] and json.loads(found[2])) for found in CALL.finditer(PAGE)]


@pytest.fixture(scope="module")
def client(people_model, tmp_path_factory):
    database = tmp_path_factory.mktemp("database") / "feedback.sqlite"
    settings = Settings(path=str(people_model), database=f"sqlite:///{database}", encoder={"model": None})
    prepared(settings.database).close()
    with TestClient(create_app(settings), base_url="http://127.0.0.1:8000") as client:
        yield client


def send(client, words):
    """Send what curl would send with these arguments."""
    method, url, headers, body = None, None, {}, None
    rest = iter(words[1:])
    for word in rest:
        if word == "-X":
            method = next(rest)
        elif word == "-H":
            name, _, value = next(rest).partition(":")
            headers[name] = value.strip()
        elif word == "-d":
            body = next(rest)
        else:
            assert url is None, word
            url = word
    return client.request(method or ("POST" if body else "GET"), url, headers=headers, content=body)


def same_shape(documented, found):
    """Whether every documented field is there with the same type; numbers may differ."""
    if isinstance(documented, dict):
        return isinstance(found, dict) and all(
            name in found and same_shape(documented[name], found[name]) for name in documented
        )
    if isinstance(documented, list):
        return isinstance(found, list) and all(same_shape(documented[0], one) for one in found)
    if isinstance(documented, float):
        return isinstance(found, float)
    return type(documented) is type(found)


def test_every_call_returns_the_documented_fields(client):
    assert len(CALLS) == 6
    for words, documented in CALLS:
        reply = send(client, words)
        assert reply.is_success, reply.text
        assert same_shape(documented, reply.json()), reply.text
    assert client.get("/v1/users/ann").status_code == 404


def test_the_documented_feedback_reverses_the_ranking(client):
    """The documented model is that of `lorerm demo`; this smaller one agrees with it."""
    orders = [
        [result["index"] for result in send(client, words).json()["results"]]
        if "/v1/rerank" in words[1]
        else send(client, words).status_code
        for words, _ in CALLS[:3]
    ]
    documented = [[result["index"] for result in CALLS[place][1]["results"]] for place in (0, 2)]
    assert [orders[0], orders[2]] == documented


def test_the_tables_have_all_routes_and_the_limits_of_the_code(client):
    paths = client.get("/openapi.json").json()["paths"]
    table = PAGE[PAGE.index("| route |") :].partition("\n\n")[0]
    for path in paths:
        short = path.replace("{user}", "{id}").removeprefix("/v1/users")
        assert short.partition("?")[0] in table.replace("/v1/users", ""), path
    from lorerm.serving import batching_encoder, schemas, users

    limits = PAGE[PAGE.index("| limit |") :].partition("\n\n")[0]
    assert f"{schemas.MAX_DOCUMENTS:,}; {schemas.MAX_FEEDBACK} each" in limits
    assert schemas.MAX_FEEDBACK == schemas.MAX_RESPONSES == schemas.MAX_CANDIDATES
    assert f"{users.MAX_BATCHES:,}" in limits
    assert f"{batching_encoder.MAX_WAITING:,}" in limits


def test_documented_options_exist():
    from lorerm.cli import build_parser

    (verbs,) = [action.choices for action in build_parser()._actions if isinstance(action.choices, dict)]
    options = {name for verb in ("serve", "users") for action in verbs[verb]._actions for name in action.option_strings}
    mentioned = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", PAGE + HOW_TO + CLIENTS)) - {
        "--out",
        "--build",
        "--build-arg",
    }
    assert mentioned
    assert mentioned <= options, mentioned - options
