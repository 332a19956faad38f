"""Middleware: access, limits, error responses and headers of every request."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from dataclasses import replace

import httpx
import pytest

from lorerm import HashingEncoder
from lorerm.serving.keys import hash_of
from lorerm.serving.loaded_model import LoadedModel
from lorerm.serving.middleware import RawPath
from lorerm.serving.users import Users
from servers import post

ASKED = {"query": "What of bread?", "documents": ["It is good.", "No."]}


def routed_path(raw_path, scope_type="http"):
    found = []

    async def app(scope, receive, send):
        found.append(scope["path"])

    asyncio.run(RawPath(app)({"type": scope_type, "path": "decoded", "raw_path": raw_path}, None, None))
    return found[0]


def test_the_path_stays_encoded():
    assert routed_path(b"/v1/users/a%2Fb") == "/v1/users/a%2Fb"
    assert routed_path(b"/v1/users/a?population=true") == "/v1/users/a"
    assert routed_path(b"/\xff") == "/\ufffd"


def test_only_requests_are_handled():
    assert routed_path(b"/v1/users/a%2Fb", "lifespan") == "decoded"


@pytest.fixture
def guarded(start, settings):
    return start(replace(settings, keys=(hash_of("secret"), hash_of("other"))))


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def test_only_a_known_key_gives_access(guarded):
    for path in ("/v1/models", "/metrics", "/openapi.json", "/v1/users/u", "/none", "/page"):
        for headers in ({}, bearer("wrong"), {"Authorization": "Basic secret"}, {"X-API-Key": "secret"}):
            response = guarded.get(path, headers=headers)
            assert (response.status_code, response.json()["error"]["code"]) == (401, "unauthorized"), path
            assert response.headers["WWW-Authenticate"] == "Bearer"
        assert guarded.get(path, headers=bearer("secret")).status_code != 401
    assert guarded.post("/v1/rerank", json=ASKED).status_code == 401
    assert guarded.post("/v1/rerank", json=ASKED, headers=bearer("other")).status_code == 200
    assert guarded.delete("/v1/users/u").status_code == 401
    assert guarded.get("/v1/models?authorization=secret").status_code == 401


def test_a_key_gives_access_by_its_scopes(start, settings):
    keys = tuple(f"{hash_of(scope)}:{scope}" for scope in ("read", "write", "delete", "admin"))
    client = start(replace(settings, keys=keys))
    needed = {
        ("GET", "/v1/users/u"): "read",
        ("POST", "/v1/rerank"): "read",
        ("PUT", "/v1/users/u/answers"): "write",
        ("DELETE", "/v1/users/u"): "delete",
        ("POST", "/v1/user/delete"): "delete",
        ("POST", "/admin/reload"): "admin",
    }
    for (method, path), scope in needed.items():
        for key in ("read", "write", "delete", "admin"):
            response = client.request(method, path, headers=bearer(key))
            assert (response.status_code == 403) == (key != scope), (method, path, key)


def test_without_keys_no_request_reloads(client):
    """Any web page could send it."""
    response = client.post("/admin/reload")
    assert (response.status_code, response.json()["error"]["code"]) == (403, "forbidden")


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
        response = client.get("/v1/models", headers={"Host": host})
        assert (response.status_code, response.json()["error"]["code"]) == (403, "host_not_allowed")


def test_other_web_pages_may_call_only_if_their_origin_is_allowed(start, settings):
    preflight = {"Origin": "https://app.example", "Access-Control-Request-Method": "PUT"}
    client = start(settings)
    response = client.options("/v1/users/u/answers", headers=preflight)
    assert "access-control-allow-origin" not in response.headers
    assert "access-control-allow-origin" not in client.get("/v1/models", headers=preflight).headers
    allowed = start(replace(settings, origins=("https://app.example",), keys=(hash_of("secret"),)))
    response = allowed.options("/v1/users/u/answers", headers=preflight)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "https://app.example"
    other = allowed.options("/v1/users/u/answers", headers={**preflight, "Origin": "https://other.example"})
    assert "access-control-allow-origin" not in other.headers
    assert allowed.get("/v1/models", headers={"Origin": "https://app.example"}).status_code == 401


def test_the_page_may_load_its_own_files_only(reader):
    response = reader.get("/")
    assert response.headers["content-type"].startswith("text/html")
    policy = dict(part.strip().split(" ", 1) for part in response.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert "content-security-policy" not in reader.get("/health").headers


def test_responses_are_not_cached_and_their_type_is_not_guessed(reader):
    for path in ("/v1/models", "/v1/users/u", "/none"):
        headers = reader.get(path).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers


def test_a_bug_is_a_500_and_its_message_is_not_logged(start, settings, monkeypatch, caplog):
    def fail(self, embeddings, weights):
        raise RuntimeError("zanzibar")

    monkeypatch.setattr(LoadedModel, "rewards", fail)
    client = start(settings)
    with caplog.at_level(logging.DEBUG):
        response = client.post("/v1/rerank", json={"query": "zanzibar", "documents": ["It is good.", "No."]})
    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal_error")
    assert "zanzibar" not in response.text + caplog.text
    assert "RuntimeError in fail" in caplog.text


def test_clients_that_close_their_connection_stop_nothing(client):
    for part in (
        b"",
        b"POST /v1/rer",
        b"POST /v1/rerank HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n{",
        b"\x16\x03\x01",
    ):
        with socket.create_connection((client.base_url.host, client.base_url.port), timeout=60) as leaving:
            leaving.sendall(part)
    assert client.get("/health").status_code == 200


def test_bodies_are_limited_with_and_without_a_declared_length(start, settings):
    client = start(replace(settings, max_body=2000))

    def in_parts():
        for _ in range(30):
            yield b" " * 100

    for content in (b" " * 2001, in_parts()):
        response = post(client, "/v1/rerank", content=content)
        assert (response.status_code, response.json()["error"]["code"]) == (413, "too_large")
    assert client.post("/v1/rerank", json=ASKED).status_code == 200
    with pytest.raises(httpx.HTTPError):
        # Rejected by the HTTP parser or by the server: either way nothing is waited for.
        post(client, "/v1/rerank", content=b"{}", headers={"Content-Length": "9" * 30}).raise_for_status()


def test_a_body_that_does_not_arrive_is_408(start, settings):
    client = start(replace(settings, timeout=0.5))
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=60) as slow:
        head = b"POST /v1/rerank HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        slow.sendall(head + b"Content-Length: 99\r\n\r\n{")
        assert slow.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_work_that_takes_too_long_is_504(start, settings, monkeypatch):
    go = threading.Event()
    monkeypatch.setattr(HashingEncoder, "encode", lambda self, texts: go.wait(60))
    client = start(replace(settings, timeout=0.5))
    response = client.post("/v1/rerank", json=ASKED)
    go.set()
    assert response.status_code == 504


def test_a_request_without_a_body_is_never_408(start, settings, monkeypatch):
    go = threading.Event()
    monkeypatch.setattr(Users, "_forget", lambda self, user: go.wait(60))
    client = start(replace(settings, timeout=0.5))
    response = client.delete("/v1/users/ann")
    go.set()
    assert (response.status_code, response.json()["error"]["code"]) == (504, "timeout")


def test_work_that_gave_up_waiting_is_504(start, settings, monkeypatch):
    def give_up(self, user):
        raise TimeoutError

    monkeypatch.setattr(Users, "_forget", give_up)
    response = start(settings).delete("/v1/users/ann")
    assert (response.status_code, response.json()["error"]["code"]) == (504, "timeout")
