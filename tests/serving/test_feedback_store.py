"""Feedback in both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sqlalchemy import event, select

from lorerm.serving.database import updates
from lorerm.serving.feedback_store import FeedbackBatch, FeedbackStore, StoredFeedback
from servers import prepared

ODD_IDS = ["u", "a/b", "..", "%2F", "Zoë \U0001f600", "line\nbreak", "'; DROP TABLE users; --", " u", "U", "x" * 256]


def batch(number: int, key: str | None = None) -> FeedbackBatch:
    return FeedbackBatch(key, b"d" * 32, 1, np.full((2, 3), number, np.float32), np.float32([1, 0.5]))


def numbers(stored: StoredFeedback) -> list[int]:
    """The numbers of the batches, in order."""
    return [int(each.projected[0, 0]) for each in stored.batches]


@pytest.fixture
def database(url):
    database = prepared(url)
    yield database
    database.close()


@pytest.fixture
def store(database):
    return FeedbackStore(database, "model")


def test_an_unknown_user_has_no_feedback(store):
    assert store.load("u").stamp is None
    assert store.load("u").batches == ()
    assert store.stamp("u") is None


def test_batches_are_loaded_in_order_as_they_were_stored(store):
    stamps = [store.append("u", store.load("u"), batch(number, f"key {number}")) for number in range(3)]
    stored = store.load("u")
    assert numbers(stored) == [0, 1, 2]
    for number, found in enumerate(stored.batches):
        expected = batch(number, f"key {number}")
        assert (found.key, found.digest, found.n_feedback) == (expected.key, expected.digest, expected.n_feedback)
        np.testing.assert_array_equal(found.projected, expected.projected)
        np.testing.assert_array_equal(found.weights, expected.weights)
    assert stored.stamp == store.stamp("u") == stamps[-1]
    assert len(set(stamps)) == 3


@pytest.mark.parametrize("user", ODD_IDS, ids=ascii)
def test_ids_are_compared_byte_by_byte(store, user):
    for number, other in enumerate(ODD_IDS):
        store.append(other, StoredFeedback(), batch(number))
    assert numbers(store.load(user)) == [ODD_IDS.index(user)]
    store.delete(user)
    assert [other for other in ODD_IDS if store.stamp(other) is None] == [user]


def test_nothing_is_appended_to_a_state_that_has_changed(store):
    before = store.load("u")
    assert store.append("u", before, batch(1)) is not None
    assert store.append("u", before, batch(2)) is None
    between = store.load("u")
    assert store.append("u", between, batch(3)) is not None
    assert store.append("u", between, batch(4)) is None
    assert numbers(store.load("u")) == [1, 3]


def test_a_user_who_returns_after_deletion_has_another_stamp(store):
    """So that nothing cached is taken for the new state."""
    first = store.append("u", StoredFeedback(), batch(1))
    old = store.load("u")
    store.delete("u")
    assert store.stamp("u") is None
    assert store.append("u", old, batch(2)) is None
    second = store.append("u", StoredFeedback(), batch(1))
    assert first != second
    assert numbers(store.load("u")) == [1]


def test_concurrent_appends_lose_nothing(store):
    def add(number: int) -> None:
        while store.append("u", store.load("u"), batch(number)) is None:
            pass

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(add, range(24)))
    assert sorted(numbers(store.load("u"))) == list(range(24))


def test_a_first_batch_during_a_deletion_is_kept_whole(postgresql):
    """Each statement of PostgreSQL sees what was committed before it; SQLite lets nothing in between."""
    database = prepared(postgresql.url("between"))
    store, stamps = FeedbackStore(database, "model"), []

    @event.listens_for(store.database.engine, "after_cursor_execute")
    def add(connection, cursor, statement, *_):
        if statement.startswith("DELETE FROM users") and not stamps:
            stamps.append(store.append("u", StoredFeedback(), batch(1)))

    store.delete("u")
    assert (store.load("u").stamp, numbers(store.load("u"))) == (stamps[0], [1])
    assert store.append("u", store.load("u"), batch(2)) is not None
    store.delete("u")
    with store.database.writing() as connection:
        assert connection.execute(select(updates.c.user_id)).all() == []
    database.close()


def test_models_see_their_own_feedback_and_deletion_covers_all(database):
    one, other = FeedbackStore(database, "one"), FeedbackStore(database, "other")
    one.append("u", StoredFeedback(), batch(1))
    assert other.stamp("u") is None
    other.append("u", StoredFeedback(), batch(2))
    one.delete("u")
    assert other.stamp("u") is None
