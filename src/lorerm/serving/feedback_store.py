"""Users' feedback in the database: all of a user's is read at once, and each request with feedback appends one row."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

import numpy as np
from sqlalchemy import delete, exists, insert, select, update
from sqlalchemy.exc import IntegrityError

from lorerm.arrays import Floats32
from lorerm.serving.database import Database, erasures, updates, users

_NUMBER = np.dtype("<f4")  # of the arrays in the columns of bytes
_STAMP = "SELECT stamp FROM users WHERE model = ? AND user_id = ?"


@dataclass(frozen=True, eq=False)
class FeedbackBatch:
    """The feedback of one request, as comparisons projected on the model's basis."""

    key: str | None
    """The request's idempotency key."""
    digest: bytes
    """SHA-256 of the request, to recognise another request with the same key."""
    n_feedback: int
    """Comparisons and choices; a choice gives several rows."""
    projected: Floats32
    """float32 [n, K]: the embedding difference of each comparison times the basis."""
    weights: Floats32
    """float32 [n]: how many judgements each comparison counts as."""


@dataclass(frozen=True, eq=False)
class StoredFeedback:
    """All feedback of one user."""

    stamp: int | None = None
    """Identifies this state, because every change draws a new one; None if nothing is stored."""
    batches: tuple[FeedbackBatch, ...] = ()


@dataclass(frozen=True)
class FeedbackStore:
    """The feedback on one model, in a prepared database."""

    database: Database
    model: str
    """The model's fingerprint."""

    def stamp(self, user: str) -> int | None:
        """Return the stamp of a user's feedback, or None if there is none; for SQLite from one thread only."""
        if self.database.is_sqlite:
            row = self.database.reader.execute(_STAMP, (self.model, user)).fetchone()
            return None if row is None else int(row[0])
        rows = self.database.read(select(users.c.stamp).where(users.c.model == self.model, users.c.user_id == user))
        return rows[0].stamp if rows else None

    def load(self, user: str) -> StoredFeedback:
        """Return a user's feedback, as it was at one moment."""
        query = (
            select(users.c.stamp, updates.c.key, updates.c.digest, updates.c.answers, updates.c.projected)
            .add_columns(updates.c.count)
            .join_from(users, updates, (users.c.model == updates.c.model) & (users.c.user_id == updates.c.user_id))
            .where(users.c.model == self.model, users.c.user_id == user)
            .order_by(updates.c.version)
        )
        rows = self.database.read(query)
        batches = []
        for _, key, digest, n_feedback, projected, count in map(tuple, rows):
            weights = np.frombuffer(count, _NUMBER)
            matrix = np.frombuffer(projected, _NUMBER).reshape(len(weights), -1)
            batches.append(FeedbackBatch(key, digest, n_feedback, matrix, weights))
        return StoredFeedback(rows[0].stamp if rows else None, tuple(batches))

    def append(self, user: str, before: StoredFeedback, batch: FeedbackBatch) -> int | None:
        """Append a request's feedback, and return the new stamp; None if the user was changed after `before`."""
        stamp, version = secrets.randbits(63), len(before.batches) + 1
        row = {"model": self.model, "user_id": user}
        values = {
            "created": time.time(),
            "key": batch.key,
            "digest": batch.digest,
            "answers": batch.n_feedback,
            "projected": batch.projected.astype(_NUMBER, copy=False).tobytes(),
            "count": batch.weights.astype(_NUMBER, copy=False).tobytes(),
        }
        try:
            with self.database.writing() as connection:
                if before.stamp is None:
                    connection.execute(insert(users).values(**row, stamp=stamp, version=version))
                else:
                    same = (users.c.model == self.model, users.c.user_id == user, users.c.stamp == before.stamp)
                    changed = connection.execute(update(users).where(*same).values(stamp=stamp, version=version))
                    if not changed.rowcount:
                        return None
                connection.execute(insert(updates).values(**row, version=version, **values))
        except IntegrityError:
            return None
        return stamp

    def delete(self, user: str) -> None:
        """Delete a user's feedback on all models; `Database.erase` then removes what remains in the files."""
        with self.database.writing() as connection:
            # The same order of tables as in `append`, so that the two cannot deadlock.
            deleted = connection.execute(delete(users).where(users.c.user_id == user)).rowcount
            # PostgreSQL: a first request may have added its row in `users` since; its feedback stays.
            added = exists().where(users.c.model == updates.c.model, users.c.user_id == updates.c.user_id)
            deleted += connection.execute(delete(updates).where(updates.c.user_id == user, ~added)).rowcount
            if deleted:
                connection.execute(update(erasures).values(pending=erasures.c.pending + 1))
