"""What is kept of people, on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event, select

from lorerm.serving.store import Kept, Store, Update
from lorerm.serving.tables import updates
from servers import prepared

ODD_IDS = ["u", "a/b", "..", "%2F", "Zoë \U0001f600", "line\nbreak", "'; DROP TABLE users; --", " u", "U", "x" * 256]


def made(number: int, key: str | None = None) -> Update:
    return Update(key, b"d" * 32, 1, bytes([number] * 12), bytes(4))


@pytest.fixture
def database(url):
    database = prepared(url)
    yield database
    database.close()


@pytest.fixture
def store(database):
    return Store(database, "model")


def test_nothing_is_kept_of_a_stranger(store):
    assert store.load("u") == Kept()
    assert store.stamp("u") is None


def test_answers_are_kept_in_their_order(store):
    stamps = [store.append("u", store.load("u"), made(number, f"key {number}")) for number in range(3)]
    kept = store.load("u")
    assert kept.updates == tuple(made(number, f"key {number}") for number in range(3))
    assert kept.stamp == store.stamp("u") == stamps[-1]
    assert len(set(stamps)) == 3
    assert kept.before(1) == Kept(kept.stamp, kept.updates[:1])


@pytest.mark.parametrize("user", ODD_IDS, ids=ascii)
def test_ids_are_kept_apart_to_the_byte(store, user):
    for number, other in enumerate(ODD_IDS):
        store.append(other, Kept(), made(number))
    assert store.load(user).updates == (made(ODD_IDS.index(user)),)
    store.delete(user)
    assert [other for other in ODD_IDS if store.stamp(other) is None] == [user]


def test_what_was_changed_meanwhile_is_not_overwritten(store):
    before = store.load("u")
    assert store.append("u", before, made(1)) is not None
    assert store.append("u", before, made(2)) is None
    between = store.load("u")
    assert store.append("u", between, made(3)) is not None
    assert store.append("u", between, made(4)) is None
    assert store.load("u").updates == (made(1), made(3))


def test_a_life_after_deletion_is_another(store):
    """A stamp is never seen again, so that nobody takes the new for the old."""
    first = store.append("u", Kept(), made(1))
    old = store.load("u")
    store.delete("u")
    assert store.stamp("u") is None
    assert store.append("u", old, made(2)) is None
    second = store.append("u", Kept(), made(1))
    assert first != second
    assert store.load("u").updates == (made(1),)


def test_many_at_once_lose_nothing(store):
    def add(number: int) -> None:
        while store.append("u", store.load("u"), made(number)) is None:
            pass

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(add, range(24)))
    assert sorted(each.projected[0] for each in store.load("u").updates) == list(range(24))


def test_a_first_answer_in_the_middle_of_a_deletion_is_kept_whole(postgresql):
    """Of PostgreSQL each statement sees what was committed before it; SQLite lets nobody in between."""
    database = prepared(postgresql.url("between"))
    store, stamps = Store(database, "model"), []

    @event.listens_for(store.database.engine, "after_cursor_execute")
    def add(connection, cursor, statement, *_):
        if statement.startswith("DELETE FROM users") and not stamps:
            stamps.append(store.append("u", Kept(), made(1)))

    store.delete("u")
    assert store.load("u") == Kept(stamps[0], (made(1),))
    assert store.append("u", store.load("u"), made(2)) is not None
    store.delete("u")
    with store.database.writing() as connection:
        assert connection.execute(select(updates.c.user_id)).all() == []
    database.close()


def test_models_see_their_own_alone_and_deletion_covers_all(database):
    one, other = Store(database, "one"), Store(database, "other")
    one.append("u", Kept(), made(1))
    assert other.load("u") == Kept()
    other.append("u", Kept(), made(2))
    one.delete("u")
    assert other.load("u") == Kept()
