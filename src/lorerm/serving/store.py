"""Users' answers in the database: read whole, added one request at a time, deleted without remains."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, exists, insert, select, update
from sqlalchemy.exc import IntegrityError

from lorerm.serving.tables import erasures, updates, users

if TYPE_CHECKING:
    from lorerm.serving.database import Database

# As `Store.stamp`; what every request for a user begins with.
_STAMP = "SELECT stamp FROM users WHERE model = ? AND user_id = ?"


@dataclass(frozen=True)
class Update:
    """The answers that one request brought."""

    key: str | None
    digest: bytes
    answers: int
    projected: bytes
    """float32 [n, K], little-endian"""
    count: bytes
    """float32 [n]"""


@dataclass(frozen=True)
class Kept:
    """What is kept of a user."""

    stamp: int | None = None
    """Equal stamps, equal state; None where nothing is kept."""
    updates: tuple[Update, ...] = ()

    def before(self, number: int) -> Kept:
        """Return the state after the first `number` requests."""
        return Kept(self.stamp, self.updates[:number])


@dataclass(frozen=True)
class Store:
    """The answers that belong to one model.

    Parameters
    ----------
    database
        Where they are.
    model
        The model's fingerprint: what another has been told is never seen here.
    """

    database: Database
    model: str

    def stamp(self, user: str) -> int | None:
        """Return the stamp of what is kept of a user; None where nothing is."""
        query = select(users.c.stamp).where(users.c.model == self.model, users.c.user_id == user)
        rows = self.database.read(query)
        return rows[0].stamp if rows else None

    def stamp_here(self, user: str) -> int | None:
        """Return the same, of SQLite: to be called in one thread alone; it takes microseconds."""
        found = self.database.standing.execute(_STAMP, (self.model, user)).fetchone()
        return None if found is None else int(found[0])

    def load(self, user: str) -> Kept:
        """Return what is kept of a user, as it was at one moment."""
        query = (
            select(users.c.stamp, updates.c.key, updates.c.digest, updates.c.answers, updates.c.projected)
            .add_columns(updates.c.count)
            .join_from(users, updates, (users.c.model == updates.c.model) & (users.c.user_id == updates.c.user_id))
            .where(users.c.model == self.model, users.c.user_id == user)
            .order_by(updates.c.version)
        )
        rows = self.database.read(query)
        if not rows:
            return Kept()
        return Kept(rows[0].stamp, tuple(Update(*list(row)[1:]) for row in rows))

    def append(self, user: str, before: Kept, new: Update) -> int | None:
        """Add what a request brought, if the user's state is still as it was before.

        Returns
        -------
        int or None
            The new stamp; None where the state is another by now, and nothing was added.
        """
        stamp, version = secrets.randbits(63), len(before.updates) + 1
        row = {"model": self.model, "user_id": user}
        try:
            with self.database.writing() as connection:
                if before.stamp is None:
                    connection.execute(insert(users).values(**row, stamp=stamp, version=version))
                else:
                    same = (users.c.model == self.model, users.c.user_id == user, users.c.stamp == before.stamp)
                    changed = connection.execute(update(users).where(*same).values(stamp=stamp, version=version))
                    if not changed.rowcount:
                        return None
                connection.execute(insert(updates).values(**row, version=version, created=time.time(), **vars(new)))
        except IntegrityError:
            return None
        return stamp

    def delete(self, user: str) -> None:
        """Delete a user with all answers, whatever model they belong to; `erase` removes what remains in the files."""
        with self.database.writing() as connection:
            # The rows that are locked first by those who add as well.
            gone = connection.execute(delete(users).where(users.c.user_id == user)).rowcount
            # Not what a first request adds in between: to PostgreSQL, its row was not there when the others went.
            kept = exists().where(users.c.model == updates.c.model, users.c.user_id == updates.c.user_id)
            gone += connection.execute(delete(updates).where(updates.c.user_id == user, ~kept)).rowcount
            if gone:
                connection.execute(update(erasures).values(pending=erasures.c.pending + 1))

    def erase(self) -> None:
        """Rewrite the database's files without what was deleted."""
        self.database.erase()
