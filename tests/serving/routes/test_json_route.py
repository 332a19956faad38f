"""Request bodies: JSON, declared as JSON, and valid."""

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
def test_invalid_json_is_400(reader, body):
    response = post(reader, "/v1/rerank", content=body)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "invalid_json"


@pytest.mark.parametrize(
    "body",
    [
        *(b"null", b"[]", b'"text"', b"1", b"1" * 4000, b"NaN", b"{}", b'{"documents": {}}', b'{"documents": [NaN]}'),
        b'{"documents": [{"embedding": [Infinity]}]}',
    ],
    ids=lambda body: repr(body[:45]),
)
def test_json_that_does_not_fit_the_schema_is_422(reader, body):
    response = post(reader, "/v1/rerank", content=body)
    assert response.status_code == 422
    assert response.json()["error"]["code"] == "invalid_request"


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
def test_the_errors_of_a_body_with_many_are_not_listed(reader, monkeypatch, path, body):
    """The list of all of them took gigabytes, and seconds during which no other request was answered."""
    from lorerm.serving.routes import json_route

    raised = []
    original = json_route.RequestValidationError
    monkeypatch.setattr(json_route, "RequestValidationError", lambda errors: raised.extend(errors) or original(errors))
    response = post(reader, f"/v1/{path}", content=body)
    assert response.status_code == 422
    assert response.json()["error"]["code"] == "invalid_request"
    assert len(raised) < 10


def test_the_last_value_of_a_repeated_name_counts(reader):
    body = b'{"documents": ["a", "b"], "query": "q", "documents": ["a"]}'
    assert len(post(reader, "/v1/rerank", content=body).json()["results"]) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": ""},
        {"Content-Encoding": "gzip"},
    ],
    ids=str,
)
def test_only_plain_json_is_read(reader, headers):
    """A browser sends the first two for any web page without asking; a compressed body can be a bomb."""
    for method, path in (("POST", "/v1/rerank"), ("PUT", "/v1/users/u/answers")):
        sent = {"Content-Type": "application/json", **headers}
        response = reader.request(method, path, content=b"{}", headers=sent)
        assert (response.status_code, response.json()["error"]["code"]) == (415, "unsupported_media_type")
