"""Every process knows all stored feedback; users are cached within bounds."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

from lorerm.errors import DataError
from lorerm.model.prior import WeightPrior
from lorerm.serving import users as module
from lorerm.serving.errors import ApiError
from lorerm.serving.feedback_store import Commit, FeedbackBatch, FeedbackStore
from lorerm.serving.loaded_model import LoadedModel
from lorerm.serving.settings import Settings
from lorerm.serving.users import Users
from refusals import refused
from servers import prepared


def batch(value: float = 1.0, key: str | None = None) -> FeedbackBatch:
    return FeedbackBatch(key, f"{value}".encode(), 1, np.full((1, 3), value, np.float32), np.ones(1, np.float32))


@asynccontextmanager
async def opened(folder, url, **more):
    model, database = LoadedModel(Settings(str(folder), url)), prepared(url)
    users = Users(model, FeedbackStore(database, model.fingerprint), **more)
    try:
        yield users
    finally:
        users.close()
        database.close()


def run(work):
    return asyncio.run(asyncio.wait_for(work, 120))


def test_the_feedback_of_one_process_is_seen_by_the_next_request_to_any(folder, url):
    async def work():
        async with opened(folder, url) as one, opened(folder, url) as other:
            for user in ("new", "trained"):
                before = await other.find(user)
                for number in range(3):
                    learned = await (one, other)[number % 2].add(user, batch())
                    for users in (one, other):
                        seen = await users.find(user)
                        assert seen.n_feedback == seen.version == number + 1
                        np.testing.assert_array_equal(seen.weights, learned.weights)
                assert before is None or (before.weights != seen.weights).any()
                await one.forget(user)
                assert await other.find(user) is None
                again = await other.add(user, batch())
                assert (await one.find(user)).version == again.version == 1

    run(work())


def test_a_removed_user_stays_unknown_after_a_restart(folder, url):
    async def work():
        async with opened(folder, url) as users:
            await users.add("trained", batch())
            await users.forget("trained")
        async with opened(folder, url) as users:
            assert await users.find("trained") is None

    run(work())


def test_concurrent_feedback_of_one_user_is_all_stored(folder, url):
    async def work():
        async with opened(folder, url) as one, opened(folder, url) as other:
            keys = [f"key {number}" for number in range(12)]
            found = await asyncio.gather(*(users.add("u", batch(key=key)) for key in keys for users in (one, other)))
            assert sorted(each.version for each in found) == sorted([*range(1, 13)] * 2)
            assert (await one.find("u")).n_feedback == 12

    run(work())


def test_cached_users_are_not_fitted_again(folder, tmp_path, monkeypatch):
    async def work():
        fits = []
        fit = Users._fit
        monkeypatch.setattr(Users, "_fit", lambda *given: fits.append(given[1]) or fit(*given))
        async with opened(folder, f"sqlite:///{tmp_path / 'a.sqlite'}", max_cached=2) as users:
            for user in ("a", "b", "c"):
                await users.add(user, batch())
            fits.clear()
            for user in ("c", "b", "c", "b", "a", "a", "c"):
                await users.find(user)
            assert fits == ["a", "c"]
            assert await users.find("unknown") is None
            assert len(users._cache) == 2

    run(work())


def test_another_model_on_the_same_database_has_its_own_feedback(folder, model, tmp_path, url):
    replace(model, temperature=5.0).save_pretrained(tmp_path / "other")

    async def work():
        async with opened(folder, url) as one, opened(tmp_path / "other", url) as other:
            await one.add("u", batch())
            assert await other.find("u") is None
            await other.add("u", batch(-1.0))
            assert (await one.find("u")).version == 1
            await other.forget("u")
            assert await one.find("u") is None

    run(work())


def test_the_number_of_requests_of_one_user_is_limited(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_BATCHES", 3)

    async def work():
        async with opened(folder, f"sqlite:///{tmp_path / 'a.sqlite'}") as users:
            for number in range(3):
                await users.add("u", batch(key=f"{number}"))
            with pytest.raises(ApiError) as raised:
                await users.add("u", batch())
            assert raised.value.code == "too_many_answers"
            assert (await users.add("u", batch(key="1"))).version == 2

    run(work())


def test_the_number_of_comparisons_of_one_user_is_limited(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_COMPARISONS", 2)

    async def work():
        async with opened(folder, f"sqlite:///{tmp_path / 'a.sqlite'}") as users:
            await users.add("u", batch())
            await users.add("u", batch())
            with pytest.raises(ApiError) as raised:
                await users.add("u", batch())
            assert raised.value.code == "too_many_answers"
            assert (await users.find("u")).n_feedback == 2

    run(work())


@pytest.mark.parametrize("moment", ["before", "while"])
def test_a_request_that_is_stopped_stores_nothing_or_says_what_it_stored(folder, url, monkeypatch, moment):
    """It is stopped before, or while, its feedback is committed."""
    arrived, go, stop = threading.Event(), threading.Event(), Commit.begin

    def begin(self):
        decided = moment == "while" and stop(self)
        arrived.set()
        assert go.wait(60)
        return decided or stop(self)

    async def work():
        async with opened(folder, url) as users:
            monkeypatch.setattr(Commit, "begin", begin)
            adding = asyncio.create_task(users.add("u", batch(key="k")))
            while not arrived.is_set():
                await asyncio.sleep(0.01)
            adding.cancel()
            await asyncio.sleep(0.05)
            go.set()
            if moment == "while":
                assert (await adding).n_feedback == 1
            else:
                with pytest.raises(asyncio.CancelledError):
                    await adding
            monkeypatch.undo()
            assert (await users.find("u") is not None) == (moment == "while")
            assert (await users.add("u", batch(key="k"))).n_feedback == 1

    run(work())


def test_comparisons_that_make_the_fit_singular_are_rejected(model, tmp_path):
    """They are so large that the prior is lost in rounding."""
    prior = WeightPrior(torch.zeros(3).double(), torch.eye(3).double())
    replace(model.without_users(model.user_ids), prior=prior).save_pretrained(tmp_path / "model")
    projected = np.full((100, 3), 3.9e6, dtype="<f4") * np.resize([[1], [-1]], (100, 1)).astype("<f4")
    new = FeedbackBatch(None, b"", 100, projected, np.full(100, 1000, np.float32))

    async def work():
        async with opened(tmp_path / "model", f"sqlite:///{tmp_path / 'a.sqlite'}") as users:
            with refused(DataError, "NaN"):
                await users.add("u", new)
            assert await users.find("u") is None

    run(work())


def test_an_interrupted_deletion_is_finished_at_the_next_start(folder, tmp_path):
    url = f"sqlite:///{tmp_path / 'a.sqlite'}"

    async def work():
        async with opened(folder, url) as users:
            await users.add("zanzibar", batch())
            users._store.delete("zanzibar")
        async with opened(folder, url):
            found = b"".join(path.read_bytes() for path in tmp_path.glob("a.sqlite*"))
            assert b"zanzibar" not in found

    run(work())
