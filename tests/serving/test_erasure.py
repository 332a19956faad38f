"""After a deletion no file of the server contains the user's id, keys or projections."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from sqlalchemy import select

from lorerm.serving import users
from lorerm.serving.database import Database, updates
from lorerm.serving.loaded_model import LoadedModel
from servers import running, until

PROMPT = "What of bread?"
ONE = {"answers": [{"prompt": "p", "chosen": "a", "rejected": "b"}]}
GONE, KEPT = "zanzibar-gone", "zanzibar-kept"


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Rewrite the database's files soon after a deletion."""
    monkeypatch.setattr(users, "ERASE_DELAY", 0.1)


def wait_until_gone(files, wanted):
    until(lambda: found_in(files() if callable(files) else list(files), wanted) == [], "the traces disappear", 20)


def fill(client):
    """Store feedback of many users, so that the database reorganises its pages, and of the two that are looked for."""
    for number in range(40):
        for user in (f"user {number % 20}", GONE, KEPT):
            choice = {"prompt": PROMPT, "responses": [f"{user} {number}", "No.", "Well!"], "chosen": number % 3}
            body = {"answers": [choice], "idempotency_key": f"key of {user}, {number}"}
            client.put(f"/v1/users/{user}/answers", json=body).raise_for_status()
    client.post("/v1/rerank", json={"query": PROMPT, "documents": ["No."], "user": GONE}).raise_for_status()


def traces(url, user):
    """Return the bytes about a user in the database."""
    database = Database(url)
    query = select(updates.c.projected, updates.c.digest).where(updates.c.user_id == user)
    found = [bytes(value) for row in database.read(query) for value in row]
    database.close()
    assert len(found) == 80
    return [user.encode(), f"key of {user}".encode(), *found]


def found_in(files, wanted):
    contents = b""
    for path in files:
        with suppress(FileNotFoundError):  # the database has replaced it
            contents += path.read_bytes() + b"\0"
    return [trace for trace in wanted if trace in contents]


def test_sqlite_and_the_models_folder_contain_nothing(start, settings, folder, tmp_path):
    """SQLite's log included, while the server runs and another process reads."""
    client, url = start(settings), settings.database
    other = start(settings)
    fill(client)
    assert client.put(
        "/v1/users/posterior only/answers", json={"answers": [{"prompt": "p", "chosen": "a", "rejected": "b"}]}
    )
    other.get(f"/v1/users/{GONE}").raise_for_status()
    files = lambda: [path for path in tmp_path.rglob("*") if path.is_file()]  # noqa: E731
    wanted, others = traces(url, GONE), traces(url, KEPT)
    assert found_in(files(), wanted) == wanted
    for user in (GONE, "posterior only"):
        assert client.delete(f"/v1/users/{user}").json()["deleted"]
    wait_until_gone(files, [*wanted, b"posterior only"])
    assert found_in(files(), others) == others
    assert other.get(f"/v1/users/{GONE}").status_code == 404
    assert other.get(f"/v1/users/{KEPT}").json()["answers"] == 40


def test_postgresql_contains_nothing_outside_its_log(start, settings, postgresql):
    """PostgreSQL recycles its write-ahead log by itself, as the documentation says."""
    from dataclasses import replace

    url = postgresql.url("erased")
    client = start(replace(settings, database=url))
    fill(client)
    postgresql.execute("CHECKPOINT")
    tables = lambda: [path for path in postgresql.files() if "pg_wal" not in path.parts]  # noqa: E731
    wanted, others = traces(url, GONE), traces(url, KEPT)
    assert found_in(tables(), wanted) == wanted
    assert client.delete(f"/v1/users/{GONE}").json()["deleted"]
    postgresql.execute("CHECKPOINT")
    wait_until_gone(tables, wanted)
    assert found_in(tables(), others) == others


def test_the_database_is_erased_even_if_the_models_files_cannot_be_changed(start, settings, tmp_path, monkeypatch):
    from lorerm.errors import RunError

    def refuse(self, user):
        raise RunError("cannot be changed", "look into the log")

    client = start(settings)
    client.put(f"/v1/users/{GONE}/answers", json=ONE).raise_for_status()
    monkeypatch.setattr(LoadedModel, "forget", refuse)
    assert client.delete(f"/v1/users/{GONE}").status_code == 409
    wait_until_gone(lambda: tmp_path.glob("*.sqlite*"), [GONE.encode()])


def test_many_deletions_rewrite_the_files_once(start, settings, monkeypatch):
    erased, erase = [], Database.erase
    monkeypatch.setattr(users, "ERASE_DELAY", 1.0)
    client = start(settings)
    for number in range(5):
        client.put(f"/v1/users/{number}/answers", json=ONE).raise_for_status()
    monkeypatch.setattr(Database, "erase", lambda self: erased.append(1) or erase(self))
    for number in range(5):
        assert client.delete(f"/v1/users/{number}").status_code == 200
        assert client.get(f"/v1/users/{number}").status_code == 404
    until(lambda: erased, "the files are rewritten", 20)
    assert len(erased) == 1


def test_the_files_are_rewritten_at_the_end_of_the_server(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(users, "ERASE_DELAY", 600)
    with running(settings) as client:
        client.put(f"/v1/users/{GONE}/answers", json=ONE).raise_for_status()
        client.delete(f"/v1/users/{GONE}").raise_for_status()
    assert found_in(tmp_path.glob("*.sqlite*"), [GONE.encode()]) == []


@pytest.mark.parametrize("moment", ["model", "database"])
def test_an_interrupted_deletion_is_finished_by_the_next_request(start, settings, tmp_path, monkeypatch, moment):
    client = start(settings)
    client.put("/v1/users/posterior only/answers", json=ONE).raise_for_status()
    failed = []

    def fail(self, *_):
        failed.append(1)
        raise RuntimeError

    with monkeypatch.context() as broken:
        broken.setattr(*((LoadedModel, "forget") if moment == "model" else (Database, "erase")), fail)
        assert client.delete("/v1/users/posterior only").status_code == (500 if moment == "model" else 200)
        until(lambda: failed, "the work fails", 20)
    time.sleep(0.2)
    client.put("/v1/users/other/answers", json=ONE).raise_for_status()
    for user in ("posterior only", "other"):
        assert client.delete(f"/v1/users/{user}").status_code == 200
    wait_until_gone(lambda: [path for path in tmp_path.rglob("*") if path.is_file()], [b"posterior only"])
