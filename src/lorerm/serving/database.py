"""The database of users' feedback, in SQLite or PostgreSQL: connections, tables, migration, erasure of deleted rows.

For each comparison the database stores K numbers: the difference between the two embeddings, projected on the model's
basis (its K reward directions). It stores no text and no embedding.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import URL, Connection, Engine, Executable, Row, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from lorerm.errors import ConfigError, first_line

CONNECTIONS = 8
"""Number of database connections that a process keeps open, and number of threads that use them."""
_POOL = {"hide_parameters": True, "pool_size": CONNECTIONS, "max_overflow": 2}
# Seconds to wait until another process has finished writing, or until PostgreSQL responds.
_PATIENCE = 20
_MIGRATION_LOCK = 0x6C6F7265  # key of a PostgreSQL advisory lock: an arbitrary number ("lore" in ASCII)

metadata = sa.MetaData()

users = sa.Table(
    "users",
    metadata,
    sa.Column(
        "model",
        sa.String(32),
        primary_key=True,
        doc="fingerprint of the first model of a series (successive models that use the same users' feedback)",
    ),
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("stamp", sa.BigInteger, nullable=False, doc="random number, replaced at every change"),
    sa.Column("version", sa.Integer, nullable=False, doc="number of requests with feedback"),
    sa.Index("users_by_id", "user_id"),
)

updates = sa.Table(
    "updates",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("model", sa.String(32), nullable=False),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False, doc="the user's version after this request"),
    sa.Column("created", sa.Float, nullable=False, doc="seconds since 1970"),
    sa.Column("key", sa.Text, doc="the request's idempotency key"),
    sa.Column("digest", sa.LargeBinary, nullable=False, doc="SHA-256 of the request"),
    sa.Column("answers", sa.Integer, nullable=False, doc="number of comparisons and choices in the request"),
    # Each row is the embedding of the chosen response minus that of the rejected one, times the basis.
    sa.Column("projected", sa.LargeBinary, nullable=False, doc="float32 [n, K], little-endian: projected comparisons"),
    sa.Column("count", sa.LargeBinary, nullable=False, doc="float32 [n], little-endian: weights of the comparisons"),
    sa.Column(
        "basis",
        sa.String(32),
        doc="fingerprint of the model on whose basis the comparisons in `projected` were projected; NULL: the model in "
        "the column `model`",
    ),
    sa.Column(
        "differences",
        sa.LargeBinary,
        doc="float16 [n, m]: embedding differences (chosen minus rejected), or their images in a random projection to "
        "m dimensions (`carry_over.keep`); NULL: not stored",
    ),
    sa.UniqueConstraint("model", "user_id", "version", name="one_update_a_version"),
    sa.UniqueConstraint("model", "user_id", "key", name="one_update_a_key"),
    sa.Index("updates_by_user", "user_id"),
)

models = sa.Table(
    "models",
    metadata,
    sa.Column("fingerprint", sa.String(32), primary_key=True),
    sa.Column("series", sa.String(32), nullable=False, doc="fingerprint of the first model of the series"),
    sa.Column("served", sa.Float, nullable=False, doc="when the model was last loaded, in seconds since 1970"),
    sa.Column("encoder", sa.Text, nullable=False, doc="JSON: identity of the encoder, and number of features D"),
    sa.Column("rank", sa.Integer, nullable=False, doc="number K of columns of the basis"),
    sa.Column("basis", sa.LargeBinary, nullable=False, doc="float32 [D, K], little-endian"),
)

maps = sa.Table(
    "maps",
    metadata,
    sa.Column("source", sa.String(32), primary_key=True, doc="fingerprint of a model"),
    sa.Column("target", sa.String(32), primary_key=True, doc="fingerprint of another model of the same series"),
    sa.Column(
        "matrix",
        sa.LargeBinary,
        nullable=False,
        doc="float32 [K, K'], little-endian: maps projections on the source's basis to projections on the target's "
        "basis; K and K' are their ranks",
    ),
    sa.Column("explained", sa.Float, nullable=False, doc="share of variance that the map explains"),
    sa.Column(
        "differences", sa.Integer, nullable=False, doc="number of embedding differences to which the map was fitted"
    ),
)

erasures = sa.Table(
    "erasures",
    metadata,
    # The table has exactly one row.
    sa.Column("pending", sa.Integer, primary_key=True, doc="number of deletions since the files were last rewritten"),
)


class Database:
    """The database at a URL, `sqlite:///FILE` or `postgresql://USER@HOST/NAME` (with the password in `PGPASSWORD`).

    It connects at the first query, so that a process can start while PostgreSQL is down.
    """

    def __init__(self, url: str) -> None:
        parsed, self._schema = _parse(url)
        self._path = parsed.database or ""
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        self.engine = _sqlite(parsed) if self.is_sqlite else _postgresql(parsed, self._schema)
        self._shown = parsed.render_as_string(hide_password=True)

    def prepare(self) -> None:
        """Create or migrate the tables, and finish an interrupted erasure.

        Call it once, before the processes of the server start.
        """
        try:
            self._migrate()
            self.erase()
        except (SQLAlchemyError, OSError) as error:
            raise self.unavailable(error) from error

    def unavailable(self, error: Exception) -> ConfigError:
        """Return the error that tells the server's operator why the database cannot be used."""
        cause = getattr(error, "orig", None) or error
        remedy = "check the URL, the permissions, and that the database is running"
        return _error(f"the database {self._shown} cannot be opened ({first_line(cause)})", remedy)

    @cached_property
    def reader(self) -> sqlite3.Connection:
        """A read-only SQLite connection that sees all commits. Only one thread may use it: the event loop's."""
        connection = sqlite3.connect(self._path, timeout=1, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA query_only = ON").close()
        return connection

    def read(self, query: Executable) -> Sequence[Row[Any]]:
        """Return the rows of a query. If the connection was lost (PostgreSQL was restarted), try a second time."""
        try:
            return self._read(query)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            return self._read(query)

    def _read(self, query: Executable) -> Sequence[Row[Any]]:
        with self.engine.connect() as connection:
            return connection.execute(query).all()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yield a connection for one transaction that only reads, and sees one state of the database."""
        with self.engine.connect() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN")
            else:
                connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            yield connection
            connection.rollback()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Yield a connection for one transaction, which is committed to the disk when the block ends."""
        with self.engine.begin() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection

    def check(self) -> None:
        """Raise an error if the database does not respond."""
        self.read(sa.select(erasures.c.pending))

    def erase(self) -> None:
        """If rows were deleted since the last call, rewrite the database files so that they contain no deleted rows.

        With SQLite, the database files are the file itself and the write-ahead log. With PostgreSQL, only the files of
        the tables are rewritten: its write-ahead log contains deleted rows until it is recycled, and backups and
        replicas can contain deleted rows too.
        """
        ((pending,),) = self.read(sa.select(erasures.c.pending))
        if not pending:
            return
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("VACUUM")
                self._empty_log(connection)
            else:
                connection.exec_driver_sql("SET statement_timeout = 0")
                try:
                    connection.exec_driver_sql("VACUUM (FULL) users, updates")
                finally:
                    connection.exec_driver_sql("RESET statement_timeout")
        with self.writing() as connection:
            connection.execute(sa.update(erasures).where(erasures.c.pending == pending).values(pending=0))

    def close(self) -> None:
        """Close all connections."""
        if "reader" in vars(self):
            self.reader.close()
        self.engine.dispose()

    def _empty_log(self, connection: Connection) -> None:
        """Empty SQLite's write-ahead log; repeat the attempt while a reader or another checkpoint prevents it."""
        deadline = time.monotonic() + _PATIENCE
        while connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]:
            if time.monotonic() > deadline:
                raise TimeoutError("SQLite's write-ahead log is in constant use")
            time.sleep(0.01)

    def _migrate(self) -> None:
        """Create or migrate the tables. Servers that start at the same time do this one after the other."""
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with self.writing() as connection:
            if not self.is_sqlite:
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
                if self._schema is not None:
                    connection.exec_driver_sql(f'CREATE SCHEMA IF NOT EXISTS "{self._schema}"')
            self._check_tables(connection)
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError as error:
                problem = f"the database {self._shown} was written by a newer version of lorerm"
                raise _error(problem, "upgrade lorerm") from error

    def _check_tables(self, connection: Connection) -> None:
        """Raise `ConfigError` if the database has tables of another application with the names of these tables."""
        found = sa.inspect(connection)
        tables = set(found.get_table_names(schema=self._schema))
        if "alembic_version" in tables:
            versions = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalars().all()
            ours = len(versions) == 1 and re.fullmatch(r"\d{4}", versions[0]) and {"users", "updates"} <= tables
            foreign = [] if ours else ["alembic_version"]
        else:
            foreign = sorted(tables & {table.name for table in metadata.sorted_tables})
        if foreign:
            problem = f"the database {self._shown} has a table {foreign[0]} of another application"
            remedy = "give another file" if self.is_sqlite else "give another database, or add ?schema=NAME to the URL"
            raise _error(problem, remedy)


def _error(problem: str, remedy: str = "give sqlite:///FILE or postgresql://USER@HOST/NAME") -> ConfigError:
    return ConfigError(problem, remedy, argument="database")


def _parse(url: str) -> tuple[URL, str | None]:
    """Return the parsed URL for SQLAlchemy, and the schema in PostgreSQL if the URL names one."""
    # An @ in a password would make a part of the password look like the host's name, which errors show.
    if url.partition("?")[0].count("@") > 1:
        raise _error("--database has more than one @", "write each @ in the user's name or the password as %40")
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise _error("--database is not a URL") from None
    backend = parsed.get_backend_name()
    if backend in ("postgresql", "postgres"):
        schema = parsed.query.get("schema")
        if schema is not None and not (isinstance(schema, str) and re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", schema)):
            raise _error(
                "--database names a schema with characters that are not allowed",
                "use only a-z, 0-9 and _ in the name of the schema",
            )
        return parsed.set(drivername="postgresql+psycopg").difference_update_query(["schema"]), schema
    if backend != "sqlite":
        raise _error(f"--database names a database of type {backend}, which is not supported")
    if parsed.database in (None, "", ":memory:") or parsed.query:
        raise _error("--database does not name a file")
    return parsed.set(drivername="sqlite+pysqlite"), None


def _sqlite(url: URL) -> Engine:
    path = Path(url.database or "")
    try:
        # Create the file here, so that only its owner can read it. SQLite gives its log the same permissions.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise _error(f"the database {path} cannot be created ({error.strerror})", "give another path") from error
    engine = sa.create_engine(url, **_POOL, connect_args={"timeout": _PATIENCE})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: object) -> None:  # noqa: ANN401 - the driver's own
        connection.isolation_level = None  # each statement is a transaction, unless `writing` begins a longer one
        _use_write_ahead_log(connection)
        for pragma in ("synchronous = FULL", "secure_delete = ON", "trusted_schema = OFF"):
            connection.execute(f"PRAGMA {pragma}").close()

    return engine


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Set SQLite's journal mode to WAL. Try again while another process sets the mode of a new file."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return connection.execute("PRAGMA journal_mode = WAL").close()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def _postgresql(url: URL, schema: str | None) -> Engine:
    path = "" if schema is None else f" -c search_path={schema}"
    with suppress(ImportError):
        return sa.create_engine(
            url,
            **_POOL,
            pool_timeout=_PATIENCE,
            connect_args={
                "connect_timeout": 5,
                "application_name": "lorerm",
                # Detect within seconds that the host has disappeared without closing its connections. By default the
                # operating system checks after two hours.
                "keepalives_idle": _PATIENCE // 2,
                "keepalives_interval": _PATIENCE // 4,
                "keepalives_count": 2,
                "tcp_user_timeout": 1000 * _PATIENCE,
                "options": f"-c statement_timeout={_PATIENCE}s -c lock_timeout={_PATIENCE}s{path}",
            },
        )
    raise _error("PostgreSQL's driver is not installed", "run pip install 'lorerm[serve]'")
