"""Access by API key, or from this machine only."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lorerm.serving.keys import hash_of

ASKED = {"query": "What of bread?", "documents": ["It is good.", "No."]}


@pytest.fixture
def guarded(start, settings):
    return start(replace(settings, keys=(hash_of("secret"), hash_of("other"))))


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def test_only_a_known_key_gives_access(guarded):
    for path in ("/v1/models", "/metrics", "/openapi.json", "/v1/users/u", "/none", "/page"):
        for headers in ({}, bearer("wrong"), {"Authorization": "Basic secret"}, {"X-API-Key": "secret"}):
            answer = guarded.get(path, headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized"), path
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert guarded.get(path, headers=bearer("secret")).status_code != 401
    assert guarded.post("/v1/rerank", json=ASKED).status_code == 401
    assert guarded.post("/v1/rerank", json=ASKED, headers=bearer("other")).status_code == 200
    assert guarded.delete("/v1/users/u").status_code == 401
    assert guarded.get("/v1/models?authorization=secret").status_code == 401


def test_the_page_and_health_need_no_key(guarded):
    for path in ("/", "/health", "/ready"):
        assert guarded.get(path).status_code == 200
    assert guarded.get("/page/../v1/models").status_code == 401
    assert guarded.get("/page/%2e%2e/v1/models").status_code == 404
    assert guarded.get("/page/..%2fapp.py").status_code == 404


def test_without_keys_other_hosts_are_rejected(client):
    """A web page can make its own domain name point to this machine (DNS rebinding)."""
    for host in ("localhost", "localhost:8000", "127.0.0.1:1", "[::1]:8000"):
        assert client.get("/health", headers={"Host": host}).status_code == 200
    for host in ("example.org", "localhost.example.org", "10.0.0.1:8000", ""):
        answer = client.get("/v1/models", headers={"Host": host})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "host_not_allowed")


def test_other_web_pages_may_call_only_if_their_origin_is_allowed(start, settings):
    preflight = {"Origin": "https://app.example", "Access-Control-Request-Method": "PUT"}
    client = start(settings)
    answer = client.options("/v1/users/u/answers", headers=preflight)
    assert "access-control-allow-origin" not in answer.headers
    assert "access-control-allow-origin" not in client.get("/v1/models", headers=preflight).headers
    allowed = start(replace(settings, origins=("https://app.example",), keys=(hash_of("secret"),)))
    answer = allowed.options("/v1/users/u/answers", headers=preflight)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    other = allowed.options("/v1/users/u/answers", headers={**preflight, "Origin": "https://other.example"})
    assert "access-control-allow-origin" not in other.headers
    assert allowed.get("/v1/models", headers={"Origin": "https://app.example"}).status_code == 401
