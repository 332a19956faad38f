"""What every request passes: keys, hosts, limits, time; and what is said, and not said, when it fails."""

from __future__ import annotations

import logging
import re
import socket
import threading
import time
from dataclasses import replace

import httpx
import pytest

from lorerm.serving.keys import hash_of
from servers import post, until

HEAD = b"POST /v1/rerank HTTP/1.1\r\nHost: localhost\r\n"
ASKED = {"query": "What of bread?", "documents": ["It is good.", "No."]}


@pytest.fixture
def guarded(start, settings):
    return start(replace(settings, keys=(hash_of("secret"), hash_of("other"))))


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def test_a_key_opens_everything_and_nothing_else_does(guarded):
    for path in ("/v1/models", "/metrics", "/openapi.json", "/v1/users/u", "/none", "/page"):
        for headers in ({}, bearer("wrong"), {"Authorization": "Basic secret"}, {"X-API-Key": "secret"}):
            answer = guarded.get(path, headers=headers)
            assert answer.status_code == 401, path
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert guarded.get(path, headers=bearer("secret")).status_code != 401
    assert guarded.post("/v1/rerank", json=ASKED).status_code == 401
    assert guarded.post("/v1/rerank", json=ASKED, headers=bearer("other")).status_code == 200
    assert guarded.delete("/v1/users/u").status_code == 401
    assert guarded.get("/v1/models?authorization=secret").status_code == 401


def test_what_tells_of_nobody_needs_no_key(guarded):
    for path in ("/", "/health", "/ready"):
        assert guarded.get(path).status_code == 200
    assert guarded.get("/page/../v1/models").status_code == 401
    assert guarded.get("/page/%2e%2e/v1/models").status_code == 404
    assert guarded.get("/page/..%2fapp.py").status_code == 404


def test_without_keys_only_this_machine_is_answered(client):
    """A web page whose name was made to point here by its own name server is not."""
    for host in ("localhost", "localhost:8000", "127.0.0.1:1", "[::1]:8000"):
        assert client.get("/health", headers={"Host": host}).status_code == 200
    for host in ("example.org", "localhost.example.org", "10.0.0.1:8000", ""):
        answer = client.get("/v1/models", headers={"Host": host})
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "host_not_allowed"


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
    """A browser sends the first two from any page without asking; a bomb needs to be unpacked."""
    answer = post(reader, "/v1/rerank", content=b"{}", headers=headers)
    assert answer.status_code == 415
    answer = reader.put("/v1/users/u/answers", content=b"{}", headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415


def test_other_pages_may_not_call_unless_they_are_named(start, settings):
    ask = {"Origin": "https://app.example", "Access-Control-Request-Method": "PUT"}
    client = start(settings)
    answer = client.options("/v1/users/u/answers", headers=ask)
    assert "access-control-allow-origin" not in answer.headers
    assert "access-control-allow-origin" not in client.get("/v1/models", headers=ask).headers
    named = start(replace(settings, origins=("https://app.example",), keys=(hash_of("secret"),)))
    answer = named.options("/v1/users/u/answers", headers=ask)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    other = named.options("/v1/users/u/answers", headers={**ask, "Origin": "https://other.example"})
    assert "access-control-allow-origin" not in other.headers
    assert named.get("/v1/models", headers={"Origin": "https://app.example"}).status_code == 401


def test_bodies_are_bounded_whether_or_not_they_say_their_length(start, settings):
    client = start(replace(settings, max_body=2000))
    assert post(client, "/v1/rerank", content=b" " * 2001).status_code == 413

    def drops():
        for _ in range(30):
            yield b" " * 100

    assert post(client, "/v1/rerank", content=drops()).status_code == 413
    assert client.post("/v1/rerank", json=ASKED).status_code == 200
    huge = {"Content-Length": "9" * 30}
    with pytest.raises(httpx.HTTPError):
        # The parser of HTTP refuses it, or we do: either way nothing is waited for.
        post(client, "/v1/rerank", content=b"{}", headers=huge).raise_for_status()


def test_a_body_that_does_not_arrive_is_not_waited_for(start, settings):
    client = start(replace(settings, timeout=0.5))
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=60) as slow:
        slow.sendall(HEAD + b"Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{")
        assert slow.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_work_that_takes_too_long_is_given_up(start, settings, monkeypatch):
    from lorerm import HashingEncoder

    go = threading.Event()
    monkeypatch.setattr(HashingEncoder, "encode", lambda self, texts: go.wait(60))
    client = start(replace(settings, timeout=0.5))
    answer = client.post("/v1/rerank", json=ASKED)
    go.set()
    assert answer.status_code == 504


def test_what_has_no_body_never_waits_for_one(start, settings, monkeypatch):
    """A deletion that takes too long is no body that did not arrive."""
    from lorerm.serving.people import People

    go = threading.Event()
    monkeypatch.setattr(People, "_forget", lambda self, user: go.wait(60))
    client = start(replace(settings, timeout=0.5))
    answer = client.delete("/v1/users/ann")
    go.set()
    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "timeout"


def test_what_the_database_gives_up_waiting_for_can_be_sent_again(start, settings, monkeypatch):
    from lorerm.serving.people import People

    def give_up(self, user):
        raise TimeoutError

    monkeypatch.setattr(People, "_forget", give_up)
    answer = start(settings).delete("/v1/users/ann")
    assert answer.status_code == 504
    assert "again" in answer.json()["error"]["remedy"]


def test_answers_are_not_to_be_kept_by_proxies_nor_guessed_at(reader):
    for path in ("/v1/models", "/v1/users/u", "/none"):
        headers = reader.get(path).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers


def test_a_mistake_of_ours_tells_nothing_of_what_was_sent(start, settings, monkeypatch, caplog):
    from lorerm.serving.routes.shared import Service

    def fail(self, embeddings, weights):
        raise RuntimeError("zanzibar")

    monkeypatch.setattr(Service, "rewards", fail)
    client = start(settings)
    with caplog.at_level(logging.DEBUG):
        answer = client.post("/v1/rerank", json={**ASKED, "query": "zanzibar"})
    assert answer.status_code == 500
    assert "zanzibar" not in answer.text + caplog.text
    assert "RuntimeError in fail" in caplog.text


def test_nothing_is_written_of_users_and_their_texts(start, settings, caplog, capfd):
    """Neither by us nor by what we stand on, whatever is asked, right or wrong."""
    logging.getLogger("httpx").setLevel(logging.CRITICAL)  # the client's own
    client = start(settings)
    marked = {"prompt": "zanzibar", "chosen": "zanzibar 1", "rejected": "zanzibar 2"}
    with caplog.at_level(logging.INFO):
        client.put("/v1/users/zanzibar/answers", json={"answers": [marked]}).raise_for_status()
        client.put("/v1/users/zanzibar/answers", json={"answers": [{**marked, "weight": -1}]})
        client.put("/v1/users/zanzibar%00/answers", json={"answers": [marked]})
        client.get("/v1/users/zanzibar2")
        client.get("/zanzibar")
        client.post("/v1/rerank", json={"query": "zanzibar", "documents": ["zanzibar"], "user": "zanzibar"})
        client.delete("/v1/users/zanzibar")
    assert "zanzibar" not in caplog.text
    assert "zanzibar" not in client.get("/metrics").text
    written = capfd.readouterr()
    assert "zanzibar" not in written.out + written.err


def test_a_client_that_leaves_is_no_mistake_of_ours(client, caplog):
    """Neither in the log nor in the figures that alarms look at."""
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=60) as leaving:
        leaving.sendall(HEAD + b"Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{")
        time.sleep(0.2)
    counted = re.compile(r'lorerm_requests_total{method="POST",route="/v1/rerank",status="(\d+)"} 1.0')
    assert until(lambda: counted.findall(client.get("/metrics").text), "it is counted") == ["499"]
    assert caplog.text == ""


def test_a_client_that_leaves_stops_nothing(client):
    address = client.base_url.host, client.base_url.port
    for part in (
        b"",
        b"POST /v1/rer",
        b"POST /v1/rerank HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n{",
        b"\x16\x03\x01",
    ):
        with socket.create_connection(address, timeout=60) as leaving:
            leaving.sendall(part)
            time.sleep(0.01)
    assert client.get("/health").status_code == 200
