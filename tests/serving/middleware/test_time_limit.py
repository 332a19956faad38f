"""The limit on the time of a request."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace

from lorerm.serving.users import Users


def test_a_body_that_does_not_arrive_is_408(start, settings):
    client = start(replace(settings, timeout=0.5))
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=60) as slow:
        head = b"POST /v1/rerank HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        slow.sendall(head + b"Content-Length: 99\r\n\r\n{")
        assert slow.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_work_that_takes_too_long_is_504(start, settings, monkeypatch):
    from lorerm import HashingEncoder

    go = threading.Event()
    monkeypatch.setattr(HashingEncoder, "encode", lambda self, texts: go.wait(60))
    client = start(replace(settings, timeout=0.5))
    answer = client.post("/v1/rerank", json={"query": "What of bread?", "documents": ["It is good.", "No."]})
    go.set()
    assert answer.status_code == 504


def test_a_request_without_a_body_is_never_408(start, settings, monkeypatch):
    go = threading.Event()
    monkeypatch.setattr(Users, "_forget", lambda self, user: go.wait(60))
    client = start(replace(settings, timeout=0.5))
    answer = client.delete("/v1/users/ann")
    go.set()
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")


def test_work_that_gave_up_waiting_is_504(start, settings, monkeypatch):
    def give_up(self, user):
        raise TimeoutError

    monkeypatch.setattr(Users, "_forget", give_up)
    answer = start(settings).delete("/v1/users/ann")
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")
