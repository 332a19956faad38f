"""The server does not fail for any request, and its responses fit its OpenAPI description.

LORERM_FUZZ sets the number of requests (see CONTRIBUTING.md); the default tests make a few hundred.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from contextlib import ExitStack

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from servers import base64_of

REQUESTS = int(os.environ.get("LORERM_FUZZ", "300"))
# Without a check that valid data are accepted: a schema cannot say that a text needs a prompt that is not blank, that
# an embedding has as many numbers as the model's, or that the index of a choice is below the number of responses.
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


def test_generated_requests(client, show_figures):
    schema = schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) == 21, [each.label for each in operations]
    each = max(1, REQUESTS // (2 * len(operations)))
    statuses: Counter[int] = Counter()
    seed = 0
    while sum(statuses.values()) < REQUESTS:  # operations without arguments are soon exhausted
        for operation in operations:
            for mode in schemathesis.GenerationMode:
                _try(operation, mode, each, statuses, seed)
        seed += 1
    line = f"{sum(statuses.values())} requests to {len(operations)} operations: {dict(sorted(statuses.items()))}"
    assert not [status for status in statuses if status >= 500], line
    show_figures(line)


def _try(operation, mode, times, statuses, seed) -> None:
    """Send requests that fit an operation's description, or violate it."""
    checks = CHECKS if mode is schemathesis.GenerationMode.POSITIVE else [*CHECKS, negative_data_rejection]

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=times,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(operation.as_strategy(mode))
    def make(case) -> None:
        response = case.call()
        statuses[response.status_code] += 1
        # schemathesis does not count 413 as a rejection: with a list that is too long, a body can exceed the limit.
        case.validate_response(response, checks=CHECKS if response.status_code == 413 else checks)

    try:
        make()
    except hypothesis.errors.Unsatisfiable:
        assert mode is schemathesis.GenerationMode.NEGATIVE, operation.label  # there is nothing to violate


HOSTILE = {
    "id": ["", "\0", "x" * 10_000, 7, None, {}, [], "\ud800"],
    "text": [
        "",
        " ",
        "\0",
        "\ud800",
        "x" * 100_000,
        1,
        None,
        True,
        {},
        [[]],
        [{"role": "user"}],
        [{"role": 1, "content": 2}],
    ],
    "number": [10**400, -(10**400), 1e308, -1, 0, 0.5, "1", None, True, [], {}, float("nan"), float("inf")],
    "embedding": [
        "",
        "AAAA",
        "*" * 4308,
        [],
        [1e308] * 808,
        [float("nan")] * 808,
        [None] * 808,
        base64_of([float("inf")] * 808),
    ],
    "list": [[], [[]], [None], {}, "x", 1, ["x"] * 2000, [["x"] * 2] * 20_000],
}


@pytest.fixture
def valid():
    """Valid requests with all of their fields."""
    row = {"embedding": base64_of([0.1] * 808)}
    pair = {"prompt": "p", "chosen": "a", "rejected": "b", "weight": 1.0}
    choice = {"prompt": "p", "responses": ["a", "b"], "chosen": 0, "weight": 1.0}
    return [
        ("POST", "/v1/rerank", {"query": "q", "documents": ["a", row], "user": "trained", "top_n": 1}),
        ("POST", "/v2/rerank", {"query": "q", "texts": ["a", row], "return_text": True, "raw_scores": True}),
        (
            "POST",
            "/v1/users/trained/rerank",
            {"query": "q", "documents": [{"text": "a", "id": 7}, {"title": "b"}], "rank_fields": ["title", "text"]},
        ),
        ("POST", "/v1/score", {"queries": ["q"], "documents": ["a", row], "user": "trained", "bounded": True}),
        ("POST", "/v1/classify", {"query": "q", "input": ["a", row], "model": "model@trained"}),
        ("PUT", "/v1/user/answers", {"user": "fuzzed", "answers": [pair]}),
        ("POST", "/v1/user", {"user": "trained", "population": False}),
        ("PUT", "/v1/users/fuzzed/answers", {"answers": [pair, choice], "idempotency_key": "k"}),
        (
            "POST",
            "/v1/users/fuzzed/next-question",
            {"prompt": "p", "candidates": ["a", row], "pairs": [[0, 1]], "top": 1, "stop_below": 0.1},
        ),
    ]


def test_every_field_with_every_hostile_value(client, valid):
    """One at a time, in bodies that are valid otherwise."""
    with ExitStack() as until_end:
        until_end.callback(client.delete, "/v1/users/fuzzed")
        for method, path, body in valid:
            assert client.request(method, path, json=body).status_code == 200
            for path_in_body in _paths(body):
                for value in (each for values in HOSTILE.values() for each in values):
                    content = json.dumps(_with(body, path_in_body, value)).encode("utf-8", "surrogatepass")
                    headers = {"Content-Type": "application/json"}
                    response = client.request(method, path, content=content, headers=headers)
                    assert response.status_code < 500, (path, path_in_body, repr(value)[:60], response.text)


def _paths(value, here=()):
    """Return the paths of all fields and entries."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield (*here, name)
        yield from _paths(inner, (*here, name))


def _with(body, path, value):
    """Return a copy with another value at a path of names and indices."""
    if not path:
        return value
    copy = body.copy()
    copy[path[0]] = _with(body[path[0]], path[1:], value)
    return copy
