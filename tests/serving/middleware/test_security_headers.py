"""Headers for browsers and proxies."""

from __future__ import annotations


def test_the_page_may_load_its_own_files_only(reader):
    answer = reader.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "content-security-policy" not in reader.get("/health").headers


def test_responses_are_not_cached_and_their_type_is_not_guessed(reader):
    for path in ("/v1/models", "/v1/users/u", "/none"):
        headers = reader.get(path).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers
