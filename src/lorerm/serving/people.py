"""What is known of people: their weights from the model's files and from their answers, which are kept."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from lorerm.errors import DataError
from lorerm.model.acquisition import posterior_of
from lorerm.model.projected import ProjectedComparisons
from lorerm.model.user_weights import UserWeights
from lorerm.serving.database import CONNECTIONS
from lorerm.serving.errors import RETRY_AFTER, ApiError
from lorerm.serving.store import Kept, Update

if TYPE_CHECKING:
    from collections.abc import Callable

    from lorerm.serving.served import Served
    from lorerm.serving.store import Store
    from lorerm.serving.vectors import Vector32

_T = TypeVar("_T")

MOST_UPDATES = 10_000
"""Requests with answers of one user: each new one reads all."""
# Each attempt fails only where another request of the same user has succeeded meanwhile.
_ATTEMPTS = 50


@dataclass(frozen=True, eq=False)
class Person:
    """What is known of a user."""

    weights: Vector32
    """float32 [K]"""
    covariance: Vector32 | None
    """float32 [K, K]"""
    answers: int
    version: int


@dataclass(frozen=True, eq=False)
class _Known:
    """A person as they are at a stamp, beside the model's own users as they were."""

    stamp: int | None
    brought: UserWeights
    person: Person


class People:
    """Finds, teaches and forgets people; all work is done in threads.

    Parameters
    ----------
    served
        The model, and the users that it brings.
    store
        The answers that are kept.
    most_known
        How many people are kept in memory, at most.
    """

    def __init__(self, served: Served, store: Store, most_known: int = 50_000) -> None:
        self._served, self._store, self._most_known = served, store, most_known
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._threads = ThreadPoolExecutor(CONNECTIONS, "people")
        # Deletions take long, and wait for each other: not where everything else is done.
        self._forgetting = ThreadPoolExecutor(1, "forgetting")

    async def find(self, user: str) -> Person | None:
        """Return what is known of a user now, whichever process learned it; None where nothing is."""
        if not self._served.is_current():
            await self.run(self._served.refresh)
        brought = self._served.brought
        here = self._store.database.is_sqlite  # a thread would take longer to be asked
        stamp = self._store.stamp_here(user) if here else await self.run(self._store.stamp, user)
        known = self._known.get(user)
        if known is not None and known.stamp == stamp and known.brought is brought:
            self._known.move_to_end(user)
            return known.person
        if stamp is None and user not in brought:
            self._known.pop(user, None)
            return None
        found = await self.run(self._load, user)
        return None if found is None else self._keep(user, found)

    async def add(self, user: str, new: Update) -> Person:
        """Add a request's answers, and return what is known then; sent again with its key, it counts once.

        Raises
        ------
        ApiError
            If the key was used for another request, or the user has too many answers.
        DataError
            If the answers' projections are beyond what can be computed with.
        """
        person, known = await self.run(self._add, user, new)
        if known is not None:
            self._keep(user, known)
        return person

    async def forget(self, user: str) -> None:
        """Remove every trace of a user, from the database's files and the model's."""
        self._known.pop(user, None)
        await asyncio.get_running_loop().run_in_executor(self._forgetting, self._forget, user)
        self._known.pop(user, None)

    def anybody(self) -> Person:
        """Return what is believed of somebody of whom nothing is known."""
        weights, covariance = (part.float().numpy() for part in posterior_of(self._served.model, None))
        return Person(weights, covariance, answers=0, version=0)

    async def check(self) -> None:
        """Raise an error if the database does not answer."""
        await self.run(self._store.database.check)

    def close(self) -> None:
        """Wait until what was begun is done."""
        for threads in (self._threads, self._forgetting):
            threads.shutdown(cancel_futures=True)

    async def run(self, work: Callable[..., _T], *arguments: object) -> _T:
        """Do some work in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    def _keep(self, user: str, known: _Known) -> Person:
        self._known[user] = known
        self._known.move_to_end(user)
        if len(self._known) > self._most_known:
            self._known.popitem(last=False)
        return known.person

    def _current_users(self) -> UserWeights:
        self._served.refresh()
        return self._served.brought

    def _load(self, user: str) -> _Known | None:
        brought, kept = self._current_users(), self._store.load(user)
        if kept.stamp is None and user not in brought:
            return None
        return _Known(kept.stamp, brought, self._person(user, brought, kept))

    def _add(self, user: str, new: Update) -> tuple[Person, _Known | None]:
        for _ in range(_ATTEMPTS):
            brought, kept = self._current_users(), self._store.load(user)
            for number, earlier in enumerate(kept.updates, 1):
                if new.key is not None and earlier.key == new.key:
                    if earlier.digest != new.digest:
                        raise ApiError(
                            409, "key_reused", "the idempotency key was used for other answers", "use a new key"
                        )
                    return self._person(user, brought, kept.before(number)), None
            if len(kept.updates) >= MOST_UPDATES:
                raise ApiError(
                    409,
                    "too_many_answers",
                    f"the user has answered in {MOST_UPDATES} requests, which is the most that are kept",
                    "delete the user, or send several answers in a request",
                )
            person = self._person(user, brought, Kept(kept.stamp, (*kept.updates, new)))
            stamp = self._store.append(user, kept, new)
            if stamp is not None:
                return person, _Known(stamp, brought, person)
        raise ApiError(
            503, "busy", "too many requests bring answers of this user at once", "send it again", RETRY_AFTER
        )

    def _forget(self, user: str) -> None:
        self._store.delete(user)
        try:
            self._served.forget(user)
        finally:  # also where the model's files cannot be changed
            self._store.erase()

    def _person(self, user: str, brought: UserWeights, kept: Kept) -> Person:
        """Fit a user's weights on all of their answers."""
        model = self._served.model
        rank = model.basis.shape[1]
        base = brought.select([user]) if user in brought else UserWeights((), *_nobody(rank))
        if kept.updates:
            projected = _floats(b"".join(each.projected for each in kept.updates)).reshape(-1, rank)
            count = _floats(b"".join(each.count for each in kept.updates))
            place = torch.zeros(len(count), dtype=torch.int64)
            try:
                base = base.add([user], ProjectedComparisons(projected, count, place), model.prior, model.temperature)
            except torch.linalg.LinAlgError:  # type: ignore[attr-defined] # the prior is lost in rounding
                raise _too_large() from None
        weights = base.weights[0].numpy()
        covariance = None if base.covariance is None else base.covariance[0].numpy()
        if not (np.isfinite(weights).all() and (covariance is None or np.isfinite(covariance).all())):
            raise _too_large()
        return Person(weights, covariance, sum(each.answers for each in kept.updates), len(kept.updates))


def _too_large() -> DataError:
    return DataError("the answers' embeddings are too large to compute with", "check what embedded them")


def _nobody(rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(0, rank), torch.zeros(0, rank, rank)


def _floats(data: bytes) -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(data, dtype="<f4").copy())
