"""The database: opened, migrated once, and rewritten after deletions."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sqlalchemy import event, inspect, select, text, update

from lorerm.errors import ConfigError
from lorerm.serving.database import Database, _use_write_ahead_log, erasures, metadata
from lorerm.serving.feedback_store import FeedbackBatch, FeedbackStore, StoredFeedback
from refusals import refused
from servers import prepared


def batch(size: int = 3) -> FeedbackBatch:
    return FeedbackBatch(None, b"", 1, np.zeros((1, size), np.float32), np.ones(1, np.float32))


def test_processes_that_start_at_once_create_the_tables_once(url):
    with ThreadPoolExecutor(4) as threads:
        databases = list(threads.map(prepared, [url] * 4))
    for database in databases:
        database.check()
        database.close()


def test_a_new_sqlite_file_that_other_processes_open_is_waited_for():
    class Contended:
        def __init__(self, *refusals):
            self.refusals = list(refusals)

        def execute(self, statement):
            if self.refusals:
                raise sqlite3.OperationalError(self.refusals.pop())
            return sqlite3.connect(":memory:").execute(statement)

    connection = Contended("database is locked", "database is locked")
    _use_write_ahead_log(connection)
    assert not connection.refusals
    with pytest.raises(sqlite3.OperationalError, match="disk"):
        _use_write_ahead_log(Contended("disk I/O error"))


def test_the_migrations_create_the_tables_of_the_code(url):
    database = prepared(url)
    found = inspect(database.engine)
    for table in metadata.sorted_tables:
        columns = {column["name"]: column for column in found.get_columns(table.name)}
        assert list(columns) == [column.name for column in table.columns]
        for column in table.columns:
            assert columns[column.name]["type"]._type_affinity is column.type._type_affinity
            assert columns[column.name]["nullable"] == column.nullable
        constraints = {each["name"] for each in found.get_unique_constraints(table.name)}
        assert constraints == {each.name for each in table.constraints if "one_update" in str(each.name)}
    database.close()


def test_a_database_of_a_newer_version_is_rejected(url):
    database = prepared(url)
    with database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with refused(ConfigError, argument="database"):
        prepared(url)


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("nonsense", "URL"),
        ("mysql://u@h/n", "mysql"),
        ("sqlite://", "file"),
        ("sqlite:///:memory:", "file"),
        ("sqlite:///file.sqlite?mode=ro", "file"),
        ("postgresql://nobody:half@secret@127.0.0.1:1/none", "%40"),
        ("postgresql://nobody:secret@127.0.0.1:secret/none", "URL"),
        ("postgresql://nobody:secret@127.0.0.1:1/none?schema=a-b", "schema"),
        ("postgresql://nobody:secret@127.0.0.1:1/none", "127.0.0.1:1/none"),
    ],
)
def test_other_addresses_are_rejected_without_showing_a_password(url, named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with refused(ConfigError, named, argument="database") as raised:
        prepared(url)
    assert "secret" not in str(raised.value)


def test_a_database_of_another_application_is_rejected(url):
    """Whether it uses Alembic or not; its tables stay as they are."""
    database = Database(url)
    with database.writing() as connection:
        connection.execute(text("CREATE TABLE users (name TEXT)"))
    with refused(ConfigError, "table users of another application", argument="database"):
        database.prepare()
    with database.writing() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num TEXT)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('8f3a2c')"))
    with refused(ConfigError, "alembic_version of another application", argument="database"):
        database.prepare()
    assert inspect(database.engine).get_columns("users")[0]["name"] == "name"
    database.close()


def test_a_schema_separates_the_tables_from_those_of_other_applications(postgresql):
    url = postgresql.url("shared")
    foreign = Database(url)
    with foreign.writing() as connection:
        connection.execute(text("CREATE TABLE users (name TEXT)"))
    foreign.close()
    one, other = prepared(f"{url}&schema=lorerm"), prepared(f"{url}&schema=other")
    FeedbackStore(one, "m").append("u", StoredFeedback(), batch())
    assert FeedbackStore(one, "m").stamp("u") is not None
    assert FeedbackStore(other, "m").stamp("u") is None
    FeedbackStore(one, "m").delete("u")
    one.erase()
    for database in (one, other, prepared(f"{url}&schema=lorerm")):
        database.check()
        database.close()


def test_a_missing_folder_and_a_file_of_another_format_are_rejected(tmp_path):
    with refused(ConfigError, f"{tmp_path}/none/file.sqlite", argument="database"):
        Database(f"sqlite:///{tmp_path}/none/file.sqlite")
    (tmp_path / "text").write_text("This is a text, and no database. " * 100)
    with refused(ConfigError, f"{tmp_path}/text", argument="database"):
        prepared(f"sqlite:///{tmp_path}/text")


def test_sqlite_is_private_and_synced_to_the_disk(tmp_path):
    database = prepared(f"sqlite:///{tmp_path}/answers.sqlite")
    FeedbackStore(database, "m").delete("nobody")
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    with database.writing() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        database.reader.execute("DELETE FROM users")
    database.close()


def test_erasing_waits_for_writers(tmp_path):
    """SQLite empties its log for one connection at a time, and writers empty it now and then."""
    url = f"sqlite:///{tmp_path}/answers.sqlite"
    databases = [prepared(url) for _ in range(4)]
    large = batch(25_000)

    def work(number: int) -> None:
        store = FeedbackStore(databases[number], "m")
        for _ in range(30):
            store.append(f"u{number}", StoredFeedback(), large)
            store.delete(f"u{number}")
            databases[number].erase()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    for database in databases:
        database.close()


def test_a_host_that_disappeared_is_noticed_within_seconds(postgresql):
    """By the operating system's keepalives: nothing else ends a thread's wait for a reply."""
    database = prepared(postgresql.url("asked"))
    with database.engine.connect() as connection:
        found = connection.connection.driver_connection.info.get_parameters()
    idle, interval, count = (int(found[f"keepalives_{name}"]) for name in ("idle", "interval", "count"))
    assert idle + interval * count <= 20
    assert int(found["tcp_user_timeout"]) <= 20_000
    database.close()


def test_a_failed_erasure_leaves_the_time_limit_of_statements(postgresql):
    database = prepared(postgresql.url("unlimited"))

    @event.listens_for(database.engine, "before_cursor_execute")
    def fail(connection, cursor, statement, *_):
        if statement.startswith("VACUUM"):
            raise OSError("cut off")

    with database.writing() as connection:
        connection.execute(update(erasures).values(pending=1))
    with pytest.raises(OSError, match="cut off"):
        database.erase()
    with database.writing() as connection:
        assert connection.execute(text("SHOW statement_timeout")).scalar() == "20s"
    database.close()


def test_erasing_is_done_once_and_repeated_after_an_interruption(url):
    database = prepared(url)
    store = FeedbackStore(database, "m")

    def pending() -> int:
        return database.read(select(erasures.c.pending))[0][0]

    store.delete("nobody")
    assert pending() == 0
    store.append("u", StoredFeedback(), batch())
    store.delete("u")
    assert pending() == 1
    database.erase()
    assert pending() == 0
    with database.writing() as connection:
        connection.execute(update(erasures).values(pending=3))
    database.close()
    again = prepared(url)
    assert again.read(select(erasures.c.pending))[0][0] == 0
    again.close()
