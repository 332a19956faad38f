"""An exception becomes an error response, and neither it nor the log contains what a client sent."""

from __future__ import annotations

import logging
import socket

from lorerm.serving.loaded_model import LoadedModel


def test_a_bug_is_a_500_and_its_message_is_not_logged(start, settings, monkeypatch, caplog):
    def fail(self, embeddings, weights):
        raise RuntimeError("zanzibar")

    monkeypatch.setattr(LoadedModel, "rewards", fail)
    client = start(settings)
    with caplog.at_level(logging.DEBUG):
        answer = client.post("/v1/rerank", json={"query": "zanzibar", "documents": ["It is good.", "No."]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert "zanzibar" not in answer.text + caplog.text
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
