"""The routes that describe the server: its model, its health, its metrics."""

from __future__ import annotations

from sqlalchemy.exc import OperationalError

from lorerm.serving.database import Database


def test_the_model_card(reader, model):
    (found,) = reader.get("/v1/models").json()["data"]
    assert found["id"] == "model"
    assert (found["rank"], found["dimension"]) == (model.fitted_rank, 808)
    assert (found["weight_space"], found["encoder"]) == ("free", "lorerm-hashing")
    assert len(found["fingerprint"]) == 32


def test_ready_needs_the_database_and_health_does_not(client, monkeypatch):
    assert client.get("/health").json() == client.get("/ready").json() == {"status": "ok"}

    def gone(self):
        raise OperationalError("SELECT", {}, Exception("gone"))

    assert client.head("/health").status_code == client.head("/ready").status_code == 200
    monkeypatch.setattr(Database, "check", gone)
    assert client.head("/ready").status_code == 503
    assert client.get("/health").status_code == 200
    assert client.get("/ready").status_code == 503


def test_metrics_contain_routes_and_no_ids(client):
    client.get("/v1/users/zanzibar")
    client.get("/zanzibar")
    found = client.get("/metrics")
    assert found.headers["content-type"].startswith("text/plain")
    assert 'route="/v1/users/{user}",status="404"' in found.text
    assert 'route="other",status="404"' in found.text
    assert "zanzibar" not in found.text
