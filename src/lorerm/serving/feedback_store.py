"""Users' feedback in the database: one row for each request. All feedback of a user is read in one query."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from threading import Lock

import numpy as np
from sqlalchemy import case, delete, exists, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from lorerm.arrays import Floats32
from lorerm.serving.carry_over import BasisMap, project
from lorerm.serving.database import Database, erasures, updates, users
from lorerm.serving.model_series import read_map

_NUMBER = np.dtype("<f4")  # number type of the arrays that are stored as bytes
_STAMP = "SELECT stamp FROM users WHERE model = ? AND user_id = ?"


@dataclass(frozen=True, eq=False)
class FeedbackBatch:
    """The feedback of one request, as comparisons projected on the model's basis."""

    key: str | None
    """The request's idempotency key."""
    digest: bytes
    """SHA-256 of the request: two requests with the same key and the same digest have the same feedback."""
    n_feedback: int
    """Number of comparisons and choices. A choice among m responses becomes m - 1 projected comparisons."""
    projected: Floats32
    """float32 [n, K]: for each comparison the embedding difference (chosen minus rejected) times the basis."""
    weights: Floats32
    """float32 [n]: the weight of each comparison; weight 2 has the effect of two equal comparisons."""
    differences: bytes | None = None
    """The embedding differences, as `carry_over.keep` returns them. None: they were not stored, or not read."""


@dataclass(frozen=True, eq=False)
class StoredFeedback:
    """All feedback of one user."""

    stamp: int | None = None
    """Random number, replaced at every change: equal stamps mean equal feedback. None if there is no feedback."""
    batches: tuple[FeedbackBatch, ...] = ()


class PreventedError(Exception):
    """The request was stopped before its change was stored, so that nothing was stored."""


class Commit:
    """The decision whether a change is stored.

    The thread that stores the change decides that it is stored; a request that was stopped decides that it is not. The
    first decision counts.
    """

    def __init__(self) -> None:
        self._decided = Lock()

    def begin(self) -> bool:
        """Decide that the change is stored. Return False if it was prevented before."""
        return self._decided.acquire(blocking=False)

    def prevent(self) -> bool:
        """Decide that the change is not stored. Return False if it is being stored, or was stored before."""
        return self._decided.acquire(blocking=False)


class FeedbackStore:
    """Store of the feedback for one model, in a database on which `Database.prepare` was called.

    Parameters
    ----------
    database, model
        The database, and the model's fingerprint.
    series
        The series of models whose feedback is read and written. None: the model begins its own series.
    basis
        The model's basis [D, K], on which feedback that earlier models of the series received is projected. None: such
        feedback is skipped.
    """

    def __init__(
        self, database: Database, model: str, series: str | None = None, basis: Floats32 | None = None
    ) -> None:
        self.database, self.model, self.series, self._basis = database, model, series or model, basis
        self._maps: dict[str, BasisMap | None] = {}

    def stamp(self, user: str) -> int | None:
        """Return the stamp of a user's feedback, or None without feedback. With SQLite, call it in one thread only."""
        if self.database.is_sqlite:
            row = self.database.reader.execute(_STAMP, (self.series, user)).fetchone()
            return None if row is None else int(row[0])
        rows = self.database.read(select(users.c.stamp).where(users.c.model == self.series, users.c.user_id == user))
        return rows[0].stamp if rows else None

    def load(self, user: str) -> StoredFeedback:
        """Return all feedback of a user, read in one query so that it is consistent."""
        basis = func.coalesce(updates.c.basis, updates.c.model)
        query = (
            select(users.c.stamp, updates.c.key, updates.c.digest, updates.c.answers, updates.c.projected)
            .add_columns(updates.c.count, basis, case((basis == self.model, None), else_=updates.c.differences))
            .join_from(users, updates, (users.c.model == updates.c.model) & (users.c.user_id == updates.c.user_id))
            .where(users.c.model == self.series, users.c.user_id == user)
            .order_by(updates.c.version)
        )
        rows = self.database.read(query)
        batches = []
        for _, key, digest, n_feedback, projected, count, of, differences in map(tuple, rows):
            weights = np.frombuffer(count, _NUMBER)
            matrix = np.frombuffer(projected, _NUMBER).reshape(len(weights), -1)
            if of != self.model:
                matrix, weights = self._carry_over(matrix, weights, of, differences)
            batches.append(FeedbackBatch(key, digest, n_feedback, matrix, weights))
        return StoredFeedback(rows[0].stamp if rows else None, tuple(batches))

    def _carry_over(
        self, projected: Floats32, weights: Floats32, of: str, differences: bytes | None
    ) -> tuple[Floats32, Floats32]:
        """Return feedback that another model received as projections on this model's basis, and the weights."""
        if self._basis is None:
            return projected[:0], weights[:0]
        if differences is not None:
            return project(differences, len(weights), self._basis), weights
        if of not in self._maps:
            self._maps[of] = read_map(self.database, of, self.model)
        found = self._maps[of]
        if found is None:
            return np.zeros((0, self._basis.shape[1]), np.float32), weights[:0]
        return projected @ found.matrix, weights

    def append(
        self, user: str, before: StoredFeedback, batch: FeedbackBatch, commit: Commit | None = None
    ) -> int | None:
        """Append a request's feedback and return the new stamp. Return None if the stored feedback is not `before`.

        Raises `PreventedError` if `commit` was prevented; then nothing is stored.
        """
        stamp, version = secrets.randbits(63), len(before.batches) + 1
        row = {"model": self.series, "user_id": user}
        values = {
            "created": time.time(),
            "key": batch.key,
            "digest": batch.digest,
            "answers": batch.n_feedback,
            "projected": batch.projected.astype(_NUMBER, copy=False).tobytes(),
            "count": batch.weights.astype(_NUMBER, copy=False).tobytes(),
            "basis": None if self.model == self.series else self.model,
            "differences": batch.differences,
        }
        try:
            with self.database.writing() as connection:
                if before.stamp is None:
                    connection.execute(insert(users).values(**row, stamp=stamp, version=version))
                else:
                    same = (users.c.model == self.series, users.c.user_id == user, users.c.stamp == before.stamp)
                    changed = connection.execute(update(users).where(*same).values(stamp=stamp, version=version))
                    if not changed.rowcount:
                        return None
                connection.execute(insert(updates).values(**row, version=version, **values))
                if commit is not None and not commit.begin():
                    raise PreventedError
        except IntegrityError:
            return None
        return stamp

    def delete(self, user: str) -> bool:
        """Delete a user's feedback for all models. The files contain the deleted rows until `Database.erase` runs.

        Return whether there was any feedback.
        """
        with self.database.writing() as connection:
            # The same order of tables as in `append`, so that the two cannot deadlock.
            deleted = connection.execute(delete(users).where(users.c.user_id == user)).rowcount
            # With PostgreSQL, a request may have added the user again since the first statement: its feedback stays.
            added = exists().where(users.c.model == updates.c.model, users.c.user_id == updates.c.user_id)
            deleted += connection.execute(delete(updates).where(updates.c.user_id == user, ~added)).rowcount
            if deleted:
                connection.execute(update(erasures).values(pending=erasures.c.pending + 1))
        return deleted > 0
