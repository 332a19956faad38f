"""List, export, import and purge the users of a server's database."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from lorerm.errors import DataError
from lorerm.serving.database import Database, erasures, maps, models, updates, users

_BINARY = ("digest", "projected", "count", "differences", "basis", "matrix")
_TABLES = {table.name: table for table in (models, maps, users, updates)}


@dataclass(frozen=True)
class SeriesSummary:
    """Numbers of users, requests and comparisons of one series of models in a database."""

    series: str
    """fingerprint of the first model of the series"""
    users: int
    requests: int
    feedback: int
    """number of comparisons and choices"""
    kept: int
    """number of requests with stored embedding differences"""


def summarise(database: Database) -> list[SeriesSummary]:
    """Return a summary of each series of models that has users."""
    kept = sa.func.count(updates.c.differences)
    query = sa.select(updates.c.model, sa.func.count(updates.c.user_id.distinct()), sa.func.count())
    found = database.read(
        query.add_columns(sa.func.sum(updates.c.answers), kept).group_by(updates.c.model).order_by(updates.c.model)
    )
    return [SeriesSummary(str(row[0]), *map(int, row[1:])) for row in found]


def list_users(database: Database) -> Iterator[tuple[str, str, int]]:
    """Yield, for each user of each series of models: the series, the user's id, and the number of comparisons."""
    query = sa.select(updates.c.model, updates.c.user_id, sa.func.sum(updates.c.answers))
    grouped = query.group_by(updates.c.model, updates.c.user_id).order_by(updates.c.model, updates.c.user_id)
    for series, user, n_feedback in map(tuple, database.read(grouped)):
        yield series, user, int(n_feedback)


def export_lines(database: Database, user_ids: Collection[str] = ()) -> Iterator[str]:
    """Yield the rows of the database as JSON lines. If `user_ids` is not empty, yield only these users' rows.

    Rows are read in one transaction, so that the lines are consistent while servers write.
    """
    with database.reading() as connection:
        for name, table in _TABLES.items():
            query = sa.select(table)
            if "user_id" in table.c:
                query = query.where(table.c.user_id.in_(user_ids)) if user_ids else query
            for row in connection.execution_options(yield_per=500).execute(query.order_by(*table.primary_key)):
                fields = {key: _encoded(key, value) for key, value in row._mapping.items() if key != "id"}  # noqa: SLF001
                yield json.dumps({"table": name, **fields})


def import_lines(database: Database, lines: Iterable[str], file: str) -> tuple[int, int]:
    """Add the rows of JSON lines to a database; return the numbers of added users and of users that were skipped.

    If a user is already in the database, for the same series of models, the user's lines are skipped, because the same
    feedback could otherwise count twice. Everything is added in one transaction.
    """
    added = skipped = 0
    new: set[tuple[str, str]] = set()
    with database.writing() as connection:
        for number, line in enumerate(lines, 1):
            name, fields = _parse(line, file, number)
            table = _TABLES[name]
            if name == "updates":
                if (fields["model"], fields["user_id"]) in new:
                    connection.execute(sa.insert(table).values(**fields))
                continue
            key = sa.and_(*(column == fields[column.name] for column in table.primary_key))
            if connection.execute(sa.select(*table.primary_key).where(key)).first() is None:
                connection.execute(sa.insert(table).values(**fields))
                if name == "users":
                    added += 1
                    new.add((fields["model"], fields["user_id"]))
            elif name == "users":
                skipped += 1
    return added, skipped


def purge(database: Database, series: Collection[str], user_ids: Collection[str]) -> int:
    """Delete the users of some series of models, and users by id, from the database's files; return their number."""
    deleted = 0
    with database.writing() as connection:
        for table in (users, updates):
            chosen = sa.or_(table.c.model.in_(series), table.c.user_id.in_(user_ids))
            count = connection.execute(sa.delete(table).where(chosen)).rowcount
            deleted += count if table is users else 0
        unused = models.c.series.in_(series)
        fingerprints = sa.select(models.c.fingerprint).where(unused)
        connection.execute(sa.delete(maps).where(maps.c.source.in_(fingerprints) | maps.c.target.in_(fingerprints)))
        connection.execute(sa.delete(models).where(unused))
        connection.execute(sa.update(erasures).values(pending=erasures.c.pending + 1))
    database.erase()
    return deleted


def _encoded(name: str, value: Any) -> Any:  # noqa: ANN401 - a value of any column
    return base64.b64encode(value).decode() if name in _BINARY and isinstance(value, bytes) else value


def _parse(line: str, file: str, row: int) -> tuple[str, dict[str, Any]]:
    remedy = "give a file that `lorerm users export` wrote"
    error = DataError("the line is not a row of a server's database", remedy, file=file, row=row)
    try:
        fields = json.loads(line)
        name = fields.pop("table")
        columns = {column.name: column for column in _TABLES[name].c if column.name != "id"}
        values = {
            key: base64.b64decode(value, validate=True)
            if isinstance(columns[key].type, sa.LargeBinary) and value is not None
            else value
            for key, value in fields.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        raise error from None
    if any(values.get(column.name) is None for column in columns.values() if not column.nullable):
        raise error
    return name, values
