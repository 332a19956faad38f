"""Every error response has a code, a message and a remedy, and repeats nothing that was sent."""

from __future__ import annotations

import sqlite3

import pytest
from sqlalchemy.exc import OperationalError

from lorerm.serving.feedback_store import FeedbackStore


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
def test_errors_have_one_format(reader, method, path, status, code):
    response = reader.request(method, path)
    assert response.status_code == status
    error = response.json()["error"]
    text = f"{error['message']}: {error['remedy']}"
    detail = response.json()["detail"]
    if status == 422:  # as FastAPI's own responses
        (invalid,) = detail
        assert invalid.keys() == {"loc", "msg", "type"}
        assert (invalid["msg"], invalid["type"]) == (text, code)
        assert invalid["loc"]
    else:
        assert detail == text
    assert error.keys() == {"code", "message", "remedy"}
    assert error["code"] == code
    assert error["message"]
    assert error["remedy"]


def test_values_of_the_request_are_not_repeated(reader):
    response = reader.post(
        "/v1/rerank", json={"query": ["zanzibar"], "documents": [{"zanzibar": "zanzibar"}], "top_n": "z"}
    )
    assert response.status_code == 422
    assert "zanzibar" not in response.text


def test_a_failing_database_is_503(start, settings, monkeypatch, caplog):
    """Neither the response nor the log contains the statement or its values."""

    def gone(self, user, *_):
        raise OperationalError(f"SELECT {user}", {"user": user}, Exception(f"gone {user}"))

    client = start(settings)
    for name in ("load", "stamp", "delete"):
        monkeypatch.setattr(FeedbackStore, name, gone)
    body = {"answers": [{"prompt": "p", "chosen": "a", "rejected": "b"}]}
    for response in (
        client.get("/v1/users/zanzibar"),
        client.delete("/v1/users/zanzibar"),
        client.put("/v1/users/zanzibar/answers", json=body),
    ):
        assert response.status_code == 503
        assert response.json()["error"]["code"] == "database_unavailable"
        assert response.headers["Retry-After"] == "1"
        assert "zanzibar" not in response.text
    assert "zanzibar" not in caplog.text


def test_the_log_names_the_code_of_the_failure(start, settings, monkeypatch, caplog):
    cause = sqlite3.OperationalError("zanzibar")
    cause.sqlite_errorname = "SQLITE_FULL"

    def full(self, user):
        raise OperationalError("", {}, cause)

    client = start(settings)
    monkeypatch.setattr(FeedbackStore, "delete", full)
    assert client.delete("/v1/users/zanzibar").status_code == 503
    assert "SQLITE_FULL" in caplog.text
    assert "zanzibar" not in caplog.text


def test_a_busy_folder_is_503_with_a_time_to_wait(client, monkeypatch):
    from lorerm.errors import FolderBusyError
    from lorerm.serving.loaded_model import LoadedModel

    def busy(self, user):
        raise FolderBusyError("busy", "wait")

    monkeypatch.setattr(LoadedModel, "forget", busy)
    response = client.delete("/v1/users/trained")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
