"""The database: opened, brought to its form once, and rewritten after deletions."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event, inspect, select, text, update

from lorerm.errors import ConfigError
from lorerm.serving.database import Database, _keep_a_log
from lorerm.serving.store import Kept, Store, Update
from lorerm.serving.tables import erasures, metadata
from servers import prepared


def test_several_that_start_at_once_make_it_once(url):
    with ThreadPoolExecutor(4) as threads:
        databases = list(threads.map(prepared, [url] * 4))
    for database in databases:
        database.check()
        database.close()


def test_a_new_sqlite_file_that_others_open_too_is_waited_for():
    class Contended:
        def __init__(self, *refusals):
            self.refusals = list(refusals)

        def execute(self, statement):
            if self.refusals:
                raise sqlite3.OperationalError(self.refusals.pop())
            return sqlite3.connect(":memory:").execute(statement)

    connection = Contended("database is locked", "database is locked")
    _keep_a_log(connection)
    assert not connection.refusals
    with pytest.raises(sqlite3.OperationalError, match="disk"):
        _keep_a_log(Contended("disk I/O error"))


def test_the_migrations_make_what_the_code_expects(url):
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


def test_what_a_newer_version_wrote_is_refused(url):
    database = prepared(url)
    with database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(ConfigError, match="newer version"):
        prepared(url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "no URL"),
        ("mysql://u@h/n", "of mysql"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:///file.sqlite?mode=ro", "names no file"),
        ("postgresql://nobody:secret@127.0.0.1:1/none", "cannot be opened"),
    ],
)
def test_what_is_no_database_is_refused(url, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=said) as raised:
        prepared(url)
    assert "secret" not in str(raised.value)


def test_a_folder_that_is_missing_and_a_file_that_is_no_database(tmp_path):
    with pytest.raises(ConfigError, match="cannot be made"):
        Database(f"sqlite:///{tmp_path}/none/file.sqlite")
    (tmp_path / "text").write_text("This is a text, and no database. " * 100)
    with pytest.raises(ConfigError, match="not a database"):
        prepared(f"sqlite:///{tmp_path}/text")


def test_sqlite_is_safe_from_other_users_and_from_a_loss_of_power(tmp_path):
    database = prepared(f"sqlite:///{tmp_path}/answers.sqlite")
    Store(database, "m").delete("nobody")
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    with database.writing() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        database.standing.execute("DELETE FROM users")
    database.close()


def test_who_erases_while_others_write_waits_for_them(tmp_path):
    """SQLite empties its log for one at a time, and those who write empty it now and then."""
    url = f"sqlite:///{tmp_path}/answers.sqlite"
    databases = [prepared(url) for _ in range(4)]
    large = bytes(100_000)

    def work(number: int) -> None:
        store = Store(databases[number], "m")
        for _ in range(30):
            store.append(f"u{number}", Kept(), Update(None, b"", 1, large, b""))
            store.delete(f"u{number}")
            databases[number].erase()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    for database in databases:
        database.close()


def test_a_server_that_is_gone_without_a_word_is_not_waited_for(postgresql):
    """The system is told to ask after it: of a thread that waits for a reply, nothing else ends the wait."""
    database = prepared(postgresql.url("asked"))
    with database.engine.connect() as connection:
        found = connection.connection.driver_connection.info.get_parameters()
    idle, interval, count = (int(found[f"keepalives_{name}"]) for name in ("idle", "interval", "count"))
    assert idle + interval * count <= 20
    assert int(found["tcp_user_timeout"]) <= 20_000
    database.close()


def test_a_rewriting_that_failed_leaves_no_connection_without_a_limit_of_time(postgresql):
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


def test_erasing_is_done_once_and_again_after_it_was_cut_off(url):
    database = prepared(url)
    store = Store(database, "m")

    def pending() -> int:
        return database.read(select(erasures.c.pending))[0][0]

    store.delete("nobody")
    assert pending() == 0
    store.append("u", Kept(), Update(None, b"", 1, b"", b""))
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
