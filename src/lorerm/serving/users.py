"""User weights: fitted to the comparisons in the model's files and the feedback in the database, and cached."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from lorerm.arrays import Floats32
from lorerm.model.acquisition import posterior_of
from lorerm.model.projected import ProjectedComparisons
from lorerm.model.user_weights import UserWeights
from lorerm.serving.database import CONNECTIONS
from lorerm.serving.errors import ApiError, busy
from lorerm.serving.fair_threads import FairThreads
from lorerm.serving.feedback_store import Commit, FeedbackBatch, FeedbackStore
from lorerm.serving.loaded_model import LoadedModel, not_computable
from lorerm.serving.model_series import Contents, contents

log = logging.getLogger("lorerm.serving")

_T = TypeVar("_T")

MAX_BATCHES = 10_000
"""Maximum number of requests with feedback for one user. Each request reads the feedback of all earlier requests."""
MAX_COMPARISONS = 20_000
"""Maximum number of comparisons of one user. Each request fits the user's weights to all of them."""
ERASE_DELAY = 30.0
"""Seconds after a removal until the files of the database are rewritten."""
# Attempts to store feedback. An attempt fails only if another request for the same user succeeded at the same time.
_ATTEMPTS = 50
# Seconds after which the users in the database are counted again for the metrics.
_COUNT_INTERVAL = 60.0


@dataclass(frozen=True, eq=False)
class User:
    """A user's posterior weights, and the amount of feedback that this server has received."""

    weights: Floats32
    """float32 [K], the posterior mean."""
    covariance: Floats32 | None
    """float32 [K, K], the posterior covariance; None if the model's recipe has no posterior."""
    n_feedback: int
    """Number of comparisons and choices received by this server."""
    version: int
    """Number of requests in which this feedback was received."""


@dataclass(frozen=True, eq=False)
class _Cached:
    """A user with fitted weights, and the state of the database and of the model's files that the fit used."""

    stamp: int | None
    file_users: UserWeights
    user: User


class Users:
    """Finds, updates and removes users. Slow work is done in threads, and at most `max_cached` users are cached."""

    def __init__(self, model: LoadedModel, store: FeedbackStore, max_cached: int = 50_000) -> None:
        self._model, self._store, self._max_cached = model, store, max_cached
        self._cache: OrderedDict[str, _Cached] = OrderedDict()
        self._threads = FairThreads(CONNECTIONS, "users")
        # Removals take long and run one at a time, in a separate thread. The other threads stay free for requests.
        self._removal_thread = ThreadPoolExecutor(1, "removal")

        self._erasure: asyncio.TimerHandle | None = None
        self.n_fits, self.fit_seconds = 0, 0.0
        """Number of fits of a user's weights, and the seconds that they took."""
        self._contents: tuple[float, Contents] | None = None

    def waiting(self) -> int:
        """Return the number of calls that wait for a thread."""
        return self._threads.waiting()

    def cached(self) -> int:
        """Return the number of users in the cache."""
        return len(self._cache)

    async def contents(self) -> Contents:
        """Return the numbers of users and comparisons in the database. They are counted at most once a minute."""
        now = time.monotonic()
        if self._contents is None or now - self._contents[0] > _COUNT_INTERVAL:
            store = self._store
            counted = await self._threads.run(contents, store.database, store.series, store.model, of="server")
            self._contents = now, counted
        return self._contents[1]

    async def find(self, user_id: str) -> User | None:
        """Return a user, fitted to the feedback that all processes have received; None if the user is unknown."""
        if not self._model.is_current():
            await self.run(self._model.refresh)
        file_users = self._model.file_users
        # SQLite is queried in this thread: it takes microseconds, less than passing the work to another thread.
        in_file = self._store.database.is_sqlite
        stamp = self._store.stamp(user_id) if in_file else await self.run(self._store.stamp, user_id)
        cached = self._cache.get(user_id)
        if cached is not None and cached.stamp == stamp and cached.file_users is file_users:
            self._cache.move_to_end(user_id)
            return cached.user
        if stamp is None and user_id not in file_users:
            self._cache.pop(user_id, None)
            return None
        loaded = await self.run(self._load, user_id)
        return None if loaded is None else self._remember(user_id, loaded)

    async def add(self, user_id: str, batch: FeedbackBatch) -> User:
        """Store a request's feedback and return the updated user. Requests with the same idempotency key count once.

        If the request is cancelled before the feedback is committed, nothing is stored.
        """
        commit = Commit()
        work = asyncio.ensure_future(self.run(self._add, user_id, batch, commit))
        try:
            user, to_cache = await asyncio.shield(work)
        except asyncio.CancelledError:
            if commit.prevent():
                work.cancel()
                raise
            # The feedback is being stored at this moment, so the response must say that it was stored.
            user, to_cache = await work
        if to_cache is not None:
            self._remember(user_id, to_cache)
        return user

    async def forget(self, user_id: str) -> list[str]:
        """Remove all data of a user: at once from the tables and the model's files, later from the database's files.

        Rewriting the database's files takes long, so this is done once for all removals within `ERASE_DELAY` seconds.
        Return the names of what was removed: `feedback`, and the names that `LoadedModel.forget` returns.
        """
        self._cache.pop(user_id, None)
        loop = asyncio.get_running_loop()
        try:
            removed = await loop.run_in_executor(self._removal_thread, self._forget, user_id)
        finally:  # also if the model's files cannot be changed
            if self._erasure is None:
                self._erasure = loop.call_later(ERASE_DELAY, self._erase_soon)
        self._cache.pop(user_id, None)
        return removed

    def population(self) -> User:
        """Return the population model as a user without feedback, whose posterior is the prior."""
        weights, covariance = (part.float().numpy() for part in posterior_of(self._model.model, None))
        return User(weights, covariance, n_feedback=0, version=0)

    async def check(self) -> None:
        """Raise an error if the database does not respond."""
        await self._threads.run(self._store.database.check, of="server")

    def close(self) -> None:
        """Finish the work that has begun, and cancel the rest."""
        self._threads.close()
        self._removal_thread.shutdown(cancel_futures=True)
        if self._erasure is not None:
            self._erasure.cancel()
            self._erase()

    async def run(self, work: Callable[..., _T], *arguments: object) -> _T:
        """Call a function in a thread and return its result."""
        return await self._threads.run(work, *arguments)

    def _remember(self, user_id: str, cached: _Cached) -> User:
        self._cache[user_id] = cached
        self._cache.move_to_end(user_id)
        if len(self._cache) > self._max_cached:
            self._cache.popitem(last=False)
        return cached.user

    def _current_file_users(self) -> UserWeights:
        self._model.refresh()
        return self._model.file_users

    def _load(self, user_id: str) -> _Cached | None:
        file_users, stored = self._current_file_users(), self._store.load(user_id)
        if stored.stamp is None and user_id not in file_users:
            return None
        return _Cached(stored.stamp, file_users, self._fit(user_id, file_users, stored.batches))

    def _add(self, user_id: str, batch: FeedbackBatch, commit: Commit) -> tuple[User, _Cached | None]:
        for _ in range(_ATTEMPTS):
            file_users, stored = self._current_file_users(), self._store.load(user_id)
            for number, earlier in enumerate(stored.batches, 1):
                if batch.key is not None and earlier.key == batch.key:
                    if earlier.digest != batch.digest:
                        problem = "the idempotency key was already used for different feedback"
                        raise ApiError(409, "key_reused", problem, "use a new key")
                    # The request was sent before: return the weights as they were after the earlier request.
                    return self._fit(user_id, file_users, stored.batches[:number]), None
            if len(stored.batches) >= MAX_BATCHES:
                problem = f"the user has feedback from {MAX_BATCHES:,} requests, which is the maximum"
                remedy = "send several comparisons in one request, or delete the user"
                raise ApiError(409, "too_many_answers", problem, remedy)
            n_comparisons = sum(len(each.weights) for each in stored.batches)
            if n_comparisons + len(batch.weights) > MAX_COMPARISONS:
                problem = f"the user would have more than {MAX_COMPARISONS:,} comparisons, which is the maximum"
                remedy = "delete the user and start again (a choice among m responses counts as m - 1 comparisons)"
                raise ApiError(409, "too_many_answers", problem, remedy)
            user = self._fit(user_id, file_users, [*stored.batches, batch])
            stamp = self._store.append(user_id, stored, batch, commit)
            if stamp is not None:
                return user, _Cached(stamp, file_users, user)
        raise busy("too many requests add feedback for this user at the same time", "same_user")

    def _forget(self, user_id: str) -> list[str]:
        removed = ["feedback"] if self._store.delete(user_id) else []
        return [*removed, *self._model.forget(user_id)]

    def _erase_soon(self) -> None:
        self._erasure = None
        self._removal_thread.submit(self._erase)

    def _erase(self) -> None:
        try:
            self._store.database.erase()
        except Exception as error:
            # The next removal, or the next start of the server, tries again.
            log.error("the database's files could not be rewritten after a removal: %s", type(error).__name__)  # noqa: TRY400

    def _fit(self, user_id: str, file_users: UserWeights, batches: Sequence[FeedbackBatch]) -> User:
        """Fit a user's weights to all comparisons of the user: those in the model's files and those in the batches."""
        begun = time.perf_counter()
        model = self._model.model
        fitted = file_users.select([user_id]) if user_id in file_users else UserWeights.none(model)
        if batches:
            projected = torch.from_numpy(np.concatenate([batch.projected for batch in batches]))
            weights = torch.from_numpy(np.concatenate([batch.weights for batch in batches]))
            of_user = torch.zeros(len(weights), dtype=torch.int64)
            new = ProjectedComparisons(projected, weights, of_user)
            try:
                fitted = fitted.add([user_id], new, model.prior, model.temperature)
            # If embeddings are huge, the prior is lost to rounding, and the posterior precision is singular.
            except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
                raise not_computable() from None
        mean = fitted.weights[0].numpy()
        covariance = None if fitted.covariance is None else fitted.covariance[0].numpy()
        if not (np.isfinite(mean).all() and (covariance is None or np.isfinite(covariance).all())):
            raise not_computable()
        self.n_fits, self.fit_seconds = self.n_fits + 1, self.fit_seconds + time.perf_counter() - begun
        return User(mean, covariance, sum(batch.n_feedback for batch in batches), len(batches))
