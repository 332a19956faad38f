"""The database: SQLite in a file, or PostgreSQL; opened, brought to the present form, and rewritten after deletions."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, event, make_url, select, text, update
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from lorerm.errors import ConfigError, first_line
from lorerm.serving.tables import erasures

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import URL, Connection, Engine, Row, Select

CONNECTIONS = 8
"""Connections of a process, which is also the number of threads that use them."""
# Seconds to wait for another writer, or for a server.
_PATIENCE = 20
_LOCK = 0x6C6F7265  # of PostgreSQL, while the form is changed


class Database:
    """A database, connected to when it is first asked: a process can start while the database does not answer.

    Parameters
    ----------
    url
        `sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/NAME`.

    Raises
    ------
    ConfigError
        If it is neither.
    """

    def __init__(self, url: str) -> None:
        parsed = _parse(url)
        self._path = parsed.database or ""
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        self.engine = _sqlite(parsed) if self.is_sqlite else _postgresql(parsed)
        self._shown = parsed.render_as_string(hide_password=True)

    def prepare(self) -> None:
        """Bring the tables to the present form, and finish a deletion that was cut off; once, before the processes.

        Raises
        ------
        ConfigError
            If the database cannot be opened, or was written by a newer version.
        """
        try:
            self._migrate()
            self.erase()
        except (SQLAlchemyError, OSError) as error:
            cause = getattr(error, "orig", None) or error
            raise ConfigError(
                f"the database {self._shown} cannot be opened ({first_line(cause)})", "check it"
            ) from error

    @cached_property
    def standing(self) -> sqlite3.Connection:
        """A connection of SQLite for one thread that asks very often; it sees each change once it is committed."""
        connection = sqlite3.connect(self._path, timeout=1, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA query_only = ON").close()
        return connection

    def read(self, query: Select[Any]) -> Sequence[Row[Any]]:
        """Return the rows of a query; once more where the connection turns out to be one of before a restart."""
        try:
            return self._read(query)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            return self._read(query)

    def _read(self, query: Select[Any]) -> Sequence[Row[Any]]:
        with self.engine.connect() as connection:
            return connection.execute(query).all()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a connection for a transaction, which is on the disk when the block is left."""
        with self.engine.begin() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection

    def check(self) -> None:
        """Ask for anything, so that an error shows that the database does not answer."""
        self.read(select(erasures.c.pending))

    def erase(self) -> None:
        """Rewrite the files without what was deleted, if something was since the last time.

        Of SQLite nothing remains: neither in the file nor in its log. PostgreSQL writes new files for the tables; what
        was deleted leaves its log, which is its own, with time, and copies that others make are theirs.
        """
        ((pending,),) = self.read(select(erasures.c.pending))
        if not pending:
            return
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("VACUUM")
                self._checkpoint(connection)
            else:
                connection.exec_driver_sql("SET statement_timeout = 0")
                try:
                    connection.exec_driver_sql("VACUUM (FULL) users, updates")
                finally:
                    connection.exec_driver_sql("RESET statement_timeout")
        with self.writing() as connection:
            connection.execute(update(erasures).where(erasures.c.pending == pending).values(pending=0))

    def close(self) -> None:
        """Close all connections."""
        if "standing" in vars(self):
            self.standing.close()
        self.engine.dispose()

    def _checkpoint(self, connection: Connection) -> None:
        """Empty SQLite's log, once nobody reads from it; while somebody else does this, SQLite itself won't wait."""
        deadline = time.monotonic() + _PATIENCE
        while connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]:
            if time.monotonic() > deadline:
                raise TimeoutError("others use it all the time")
            time.sleep(0.01)

    def _migrate(self) -> None:
        """Bring the tables to the present form; of several processes that start at once, one does."""
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with self.writing() as connection:
            if not self.is_sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError as error:
                raise ConfigError("the database was written by a newer version of lorerm", "upgrade lorerm") from error


def _parse(url: str) -> URL:
    remedy = "give sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME"
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigError("--database is no URL", remedy) from None
    backend = parsed.get_backend_name()
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise ConfigError(f"--database is a database of {backend}", remedy)
    if parsed.database in (None, "", ":memory:") or parsed.query:
        raise ConfigError("--database names no file", remedy)
    return parsed.set(drivername="sqlite+pysqlite")


def _sqlite(url: URL) -> Engine:
    path = Path(url.database or "")
    try:
        # Before SQLite makes it, so that nobody else can read it; its log gets the same permissions.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise ConfigError(f"the database {path} cannot be made ({error.strerror})", "choose another place") from error
    engine = create_engine(
        url, hide_parameters=True, pool_size=CONNECTIONS, max_overflow=2, connect_args={"timeout": _PATIENCE}
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: object) -> None:  # noqa: ANN401 - the driver's own
        connection.isolation_level = None  # statements commit by themselves; `writing` begins what is longer
        _keep_a_log(connection)
        for pragma in ("synchronous = FULL", "secure_delete = ON", "trusted_schema = OFF"):
            connection.execute(f"PRAGMA {pragma}").close()

    return engine


def _keep_a_log(connection: sqlite3.Connection) -> None:
    """Let SQLite write ahead to a log; where others ask a new file for it too, it won't wait, whatever its timeout."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return connection.execute("PRAGMA journal_mode = WAL").close()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def _postgresql(url: URL) -> Engine:
    with suppress(ImportError):
        return create_engine(
            url,
            hide_parameters=True,
            pool_size=CONNECTIONS,
            max_overflow=2,
            pool_timeout=_PATIENCE,
            connect_args={
                "connect_timeout": 5,
                "application_name": "lorerm",
                # A server that is gone without a word ends the wait for it, not only one that says so: by default the
                # system asks after two hours.
                "keepalives_idle": _PATIENCE // 2,
                "keepalives_interval": _PATIENCE // 4,
                "keepalives_count": 2,
                "tcp_user_timeout": 1000 * _PATIENCE,
                "options": f"-c statement_timeout={_PATIENCE}s -c lock_timeout={_PATIENCE}s",
            },
        )
    raise ConfigError("the driver of PostgreSQL is not installed", "run pip install 'lorerm[serve]'")
