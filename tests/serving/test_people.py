"""What one process learns, all know; what is known is kept in memory within bounds."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

from lorerm.errors import DataError
from lorerm.model.prior import WeightPrior
from lorerm.serving import people as module
from lorerm.serving.errors import ApiError
from lorerm.serving.people import People
from lorerm.serving.served import Served
from lorerm.serving.settings import Settings
from lorerm.serving.store import Store, Update
from servers import prepared


def made(sign: float = 1.0, key: str | None = None) -> Update:
    projected = np.full((1, 3), sign, dtype="<f4")
    return Update(key, f"{sign}".encode(), 1, projected.tobytes(), np.ones(1, dtype="<f4").tobytes())


@asynccontextmanager
async def opened(folder, url, **more):
    served, database = Served(Settings(str(folder), url)), prepared(url)
    people = People(served, Store(database, served.fingerprint), **more)
    try:
        yield people
    finally:
        people.close()
        database.close()


def run(work):
    return asyncio.run(asyncio.wait_for(work, 120))


def test_what_one_process_learns_the_next_request_to_any_sees(folder, url):
    async def work():
        async with opened(folder, url) as one, opened(folder, url) as other:
            for user in ("new", "trained"):
                before = await other.find(user)
                for number in range(3):
                    learned = await (one, other)[number % 2].add(user, made())
                    for people in (one, other):
                        seen = await people.find(user)
                        assert seen.answers == seen.version == number + 1
                        np.testing.assert_array_equal(seen.weights, learned.weights)
                assert before is None or (before.weights != seen.weights).any()
                await one.forget(user)
                assert await other.find(user) is None
                again = await other.add(user, made())
                assert (await one.find(user)).version == again.version == 1

    run(work())


def test_nobody_who_was_forgotten_comes_back_with_a_new_process(folder, url):
    async def work():
        async with opened(folder, url) as people:
            await people.add("trained", made())
            await people.forget("trained")
        async with opened(folder, url) as people:
            assert await people.find("trained") is None

    run(work())


def test_answers_of_many_at_once_for_one_user_are_all_there(folder, url):
    async def work():
        async with opened(folder, url) as one, opened(folder, url) as other:
            keys = [f"key {number}" for number in range(12)]
            found = await asyncio.gather(*(people.add("u", made(key=key)) for key in keys for people in (one, other)))
            assert sorted(each.version for each in found) == sorted([*range(1, 13)] * 2)
            assert (await one.find("u")).answers == 12

    run(work())


def test_what_is_known_is_not_fitted_again(folder, tmp_path, monkeypatch):
    async def work():
        fits = []
        fit = People._person
        monkeypatch.setattr(People, "_person", lambda *given: fits.append(given[1]) or fit(*given))
        async with opened(folder, f"sqlite:///{tmp_path / 'a.sqlite'}", most_known=2) as people:
            for user in ("a", "b", "c"):
                await people.add(user, made())
            fits.clear()
            for user in ("c", "b", "c", "b", "a", "a", "c"):
                await people.find(user)
            assert fits == ["a", "c"]
            assert await people.find("stranger") is None
            assert len(people._known) == 2

    run(work())


def test_another_model_on_the_same_database_starts_empty(folder, model, tmp_path, url):
    replace(model, temperature=5.0).save_pretrained(tmp_path / "other")

    async def work():
        async with opened(folder, url) as one, opened(tmp_path / "other", url) as other:
            await one.add("u", made())
            assert await other.find("u") is None
            await other.add("u", made(-1.0))
            assert (await one.find("u")).version == 1
            await other.forget("u")
            assert await one.find("u") is None

    run(work())


def test_one_user_cannot_fill_the_database(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_UPDATES", 3)

    async def work():
        async with opened(folder, f"sqlite:///{tmp_path / 'a.sqlite'}") as people:
            for number in range(3):
                await people.add("u", made(key=f"{number}"))
            with pytest.raises(ApiError) as raised:
                await people.add("u", made())
            assert raised.value.code == "too_many_answers"
            assert (await people.add("u", made(key="1"))).version == 2

    run(work())


def test_answers_beside_which_the_prior_is_lost_in_rounding_are_refused(model, tmp_path):
    """Their Hessian is singular to the last digit."""
    prior = WeightPrior(torch.zeros(3).double(), torch.eye(3).double())
    replace(model.without_users(model.user_ids), prior=prior).save_pretrained(tmp_path / "model")
    projected = np.full((100, 3), 3.9e6, dtype="<f4") * np.resize([[1], [-1]], (100, 1)).astype("<f4")
    new = Update(None, b"", 100, projected.tobytes(), np.full(100, 1000, dtype="<f4").tobytes())

    async def work():
        async with opened(tmp_path / "model", f"sqlite:///{tmp_path / 'a.sqlite'}") as people:
            with pytest.raises(DataError, match="too large"):
                await people.add("u", new)
            assert await people.find("u") is None

    run(work())


def test_a_deletion_that_was_cut_off_is_finished_at_the_start(folder, tmp_path):
    url = f"sqlite:///{tmp_path / 'a.sqlite'}"

    async def work():
        async with opened(folder, url) as people:
            await people.add("zanzibar", made())
            people._store.delete("zanzibar")
        async with opened(folder, url):
            found = b"".join(path.read_bytes() for path in tmp_path.glob("a.sqlite*"))
            assert b"zanzibar" not in found

    run(work())
