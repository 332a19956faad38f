"""Bodies as JSON, and nothing that only looks like it."""

from __future__ import annotations

import pytest

from servers import post


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"query": "\\ud800", "documents": ["a"]}',
        b'{"query": "\xff", "documents": ["a"]}',
        b"\xef\xbb\xbf{}",
        b"'a'",
        b"{} {}",
        b"1" * 10_000 + b"x",
    ],
    ids=lambda body: repr(body[:30]),
)
def test_what_is_no_json_is_said_to_be_none(reader, body):
    answer = post(reader, "/v1/rerank", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_json"


@pytest.mark.parametrize(
    "body",
    [
        *(b"null", b"[]", b'"text"', b"1", b"1" * 4000, b"NaN", b"{}", b'{"documents": {}}', b'{"documents": [NaN]}'),
        b'{"documents": [{"embedding": [Infinity]}]}',
    ],
    ids=lambda body: repr(body[:45]),
)
def test_other_json_is_said_to_be_wrong(reader, body):
    answer = post(reader, "/v1/rerank", content=body)
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "invalid_request"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("rerank", b'{"documents": [' + b",".join([b'{"embedding": [' + b'"",' * 9_999 + b'""]}'] * 10) + b"]}"),
        ("rerank", b'{"documents": [' + b",".join([b"[" + b"{}," * 999 + b"{}]"] * 50) + b"]}"),
        ("score", b'{"documents": "a", "queries": [' + b",".join([b"[" + b"{}," * 999 + b"{}]"] * 50) + b"]}"),
        ("users/u/next-question", b'{"candidates": ["a", "b"], "pairs": [' + b"[-1, -1]," * 9_999 + b"[-1, -1]]}"),
        ("users/u/next-question", b"{" + b",".join(b'"%d": 1' % number for number in range(50_000)) + b"}"),
    ],
    ids=lambda body: repr(body[:60]),
)
def test_a_body_full_of_mistakes_is_not_worked_through(reader, monkeypatch, path, body):
    """All of them as Python's objects took gigabytes, and seconds in which nobody else was answered."""
    from lorerm.serving import bodies

    raised = []
    mistaken = bodies.RequestValidationError
    monkeypatch.setattr(bodies, "RequestValidationError", lambda found: raised.extend(found) or mistaken(found))
    answer = post(reader, f"/v1/{path}", content=body)
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "invalid_request"
    assert len(raised) < 10


def test_of_a_name_that_comes_twice_the_last_counts(reader):
    body = b'{"documents": ["a", "b"], "query": "q", "documents": ["a"]}'
    assert len(post(reader, "/v1/rerank", content=body).json()["results"]) == 1
