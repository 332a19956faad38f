"""Every error has one shape, and no text of a client in it that it need not have."""

from __future__ import annotations

import sqlite3

import pytest
from sqlalchemy.exc import OperationalError

from lorerm.serving.store import Store


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/none", 404, "not_found"),
        ("GET", "/v1/users/stranger", 404, "unknown_user"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("GET", "/v1/rerank", 405, "method_not_allowed"),
        ("GET", "/v1/users/u/next-question", 422, "invalid_request"),
        ("GET", "/v1/users/u/next-question?candidates=a&candidates=b&prompt=p&stop_below=nan", 422, "invalid_request"),
        ("GET", "/v1/models/", 404, "not_found"),
        ("DELETE", "/v1/users/u/", 404, "not_found"),
        ("GET", "/docs", 404, "not_found"),
        ("GET", "/redoc", 404, "not_found"),
        ("PATCH", "/v1/rerank", 405, "method_not_allowed"),
    ],
)
def test_all_are_alike(reader, method, path, status, code):
    answer = reader.request(method, path)
    assert answer.status_code == status
    assert answer.json()["error"].keys() == {"code", "message", "remedy"}
    assert answer.json()["error"]["code"] == code


def test_what_was_sent_is_not_repeated(reader):
    answer = reader.post(
        "/v1/rerank", json={"query": ["zanzibar"], "documents": [{"zanzibar": "zanzibar"}], "top_n": "z"}
    )
    assert answer.status_code == 422
    assert "zanzibar" not in answer.json()["error"]["message"].replace("body.documents.0.object.zanzibar", "")


def test_a_database_that_is_gone_is_said_to_be(start, settings, monkeypatch, caplog):
    """With what to do about it, and without the statement and its values."""

    def gone(self, user, *_):
        raise OperationalError(f"SELECT {user}", {"user": user}, Exception(f"gone {user}"))

    client = start(settings)
    for name in ("load", "stamp_here", "delete"):
        monkeypatch.setattr(Store, name, gone)
    body = {"answers": [{"prompt": "p", "chosen": "a", "rejected": "b"}]}
    for answer in (
        client.get("/v1/users/zanzibar"),
        client.delete("/v1/users/zanzibar"),
        client.put("/v1/users/zanzibar/answers", json=body),
    ):
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "database_unavailable"
        assert answer.headers["Retry-After"] == "1"
        assert "zanzibar" not in answer.text
    assert "zanzibar" not in caplog.text


def test_the_log_tells_a_full_disk_from_other_failures(start, settings, monkeypatch, caplog):
    cause = sqlite3.OperationalError("zanzibar")
    cause.sqlite_errorname = "SQLITE_FULL"

    def full(self, user):
        raise OperationalError("", {}, cause)

    client = start(settings)
    monkeypatch.setattr(Store, "delete", full)
    assert client.delete("/v1/users/zanzibar").status_code == 503
    assert "SQLITE_FULL" in caplog.text
    assert "zanzibar" not in caplog.text


def test_files_that_another_command_changes_are_waited_for_by_the_client(client, monkeypatch):
    from lorerm.errors import FolderBusyError
    from lorerm.serving.served import Served

    def busy(self, user):
        raise FolderBusyError("busy", "wait")

    monkeypatch.setattr(Served, "forget", busy)
    answer = client.delete("/v1/users/trained")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
