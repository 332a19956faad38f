"""Whatever a client sends, the server does not fail, and answers as its description says.

LORERM_FUZZ says how many requests to make (see CONTRIBUTING.md); the default tests make a few hundred.
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
# Not among them: that valid data are accepted. A description cannot say that a text needs a prompt that is not blank,
# that an embedding has as many numbers as the model's, or that a choice is one of those given.
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


def test_no_request_makes_it_fail(client, show_figures):
    schema = schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) == 11, [each.label for each in operations]
    each = max(1, REQUESTS // (2 * len(operations)))
    statuses: Counter[int] = Counter()
    seed = 0
    while sum(statuses.values()) < REQUESTS:  # an operation without arguments is soon tried out
        for operation in operations:
            for mode in schemathesis.GenerationMode:
                _try(operation, mode, each, statuses, seed)
        seed += 1
    line = f"{sum(statuses.values())} requests to {len(operations)} operations: {dict(sorted(statuses.items()))}"
    assert not [status for status in statuses if status >= 500], line
    show_figures(line)


def _try(operation, mode, times, statuses, seed) -> None:
    """Make requests of an operation that keep its description, or break it."""
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
        answer = case.call()
        statuses[answer.status_code] += 1
        case.validate_response(answer, checks=checks)

    try:
        make()
    except hypothesis.errors.Unsatisfiable:
        assert mode is schemathesis.GenerationMode.NEGATIVE, operation.label  # nothing in it can be broken


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
def sound():
    """Requests that are right, each with the kinds of its fields."""
    row = {"embedding": base64_of([0.1] * 808)}
    pair = {"prompt": "p", "chosen": "a", "rejected": "b", "weight": 1.0}
    choice = {"prompt": "p", "responses": ["a", "b"], "chosen": 0, "weight": 1.0}
    return [
        ("POST", "/v1/rerank", {"query": "q", "documents": ["a", row], "user": "trained", "top_n": 1}),
        ("POST", "/v1/score", {"queries": ["q"], "documents": ["a", row], "user": "trained"}),
        ("PUT", "/v1/users/fuzzed/answers", {"answers": [pair, choice], "idempotency_key": "k"}),
        (
            "POST",
            "/v1/users/fuzzed/next-question",
            {"prompt": "p", "candidates": ["a", row], "pairs": [[0, 1]], "top": 1, "stop_below": 0.1},
        ),
    ]


def test_every_field_takes_every_hostile_value(client, sound):
    """One at a time, in bodies that are right otherwise."""
    with ExitStack() as until_end:
        until_end.callback(client.delete, "/v1/users/fuzzed")
        for method, path, body in sound:
            assert client.request(method, path, json=body).status_code == 200
            for place in _places(body):
                for value in (each for values in HOSTILE.values() for each in values):
                    content = json.dumps(_with(body, place, value)).encode("utf-8", "surrogatepass")
                    headers = {"Content-Type": "application/json"}
                    answer = client.request(method, path, content=content, headers=headers)
                    assert answer.status_code < 500, (path, place, repr(value)[:60], answer.text)


def _places(value, here=()):
    """Return the paths of all fields and entries."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield (*here, name)
        yield from _places(inner, (*here, name))


def _with(body, place, value):
    """Return a copy with another value at a place."""
    if not place:
        return value
    copy = body.copy()
    copy[place[0]] = _with(body[place[0]], place[1:], value)
    return copy
