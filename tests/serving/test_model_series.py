"""A model that was trained again continues the series of the one before, and uses its feedback."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import numpy as np
import pytest

from lorerm.serving.carry_over import keep
from lorerm.serving.feedback_store import FeedbackBatch, FeedbackStore, StoredFeedback
from lorerm.serving.loaded_model import fingerprint
from lorerm.serving.model_series import contents, last_served, read_map, register
from servers import prepared

RNG = np.random.default_rng(0)


@pytest.fixture
def database(url):
    found = prepared(url)
    yield found
    found.close()


@pytest.fixture
def again(model):
    """The model after another training."""
    return replace(model, basis=model.basis + 0.01 * model.basis.flip(0))


def store_of(database, model, series):
    return FeedbackStore(database, fingerprint(model), series, model.basis.numpy())


def registered(database, model, **more):
    return store_of(database, model, register(database, model, fingerprint(model), **more))


def batch(difference, model, key=None, kept=None):
    projected = difference @ model.basis.numpy()
    return FeedbackBatch(key, b"", len(difference), projected, np.ones(len(difference), np.float32), kept)


def difference(n=2):
    return RNG.standard_normal((n, 808)).astype(np.float32)


def test_feedback_is_carried_over_in_both_directions(database, model, again):
    """By its differences if they were kept, else by the map; versions and keys go on."""
    before = registered(database, model)
    kept, mapped, new = difference(), difference(3), difference(1)
    before.append("u", StoredFeedback(), batch(kept, model, "a", keep(kept, 10**9)))
    before.append("u", before.load("u"), batch(mapped, model, "b"))
    after = registered(database, again, follows=fingerprint(model), differences=difference(4000))
    held = contents(database, after.series, fingerprint(again))
    assert (held.served.users, held.served.feedback, held.exact, held.mapped, held.other.users) == (1, 5, 2, 3, 0)
    stored = after.load("u")
    assert [each.key for each in stored.batches] == ["a", "b"]
    np.testing.assert_allclose(stored.batches[0].projected, kept @ again.basis.numpy(), atol=0.2)
    found = read_map(database, fingerprint(model), fingerprint(again))
    np.testing.assert_allclose(
        stored.batches[1].projected, mapped @ model.basis.numpy() @ found.matrix, rtol=1e-4, atol=1e-4
    )
    assert found.explained > 0.99
    after.append("u", stored, batch(new, again, "c"))
    assert after.stamp("u") == before.stamp("u")
    assert [each.key for each in before.load("u").batches] == ["a", "b", "c"]
    assert len(before.load("u").batches[2].weights) == 1


def test_a_model_that_follows_no_other_begins_a_series(database, model, again):
    first, second = registered(database, model), registered(database, again)
    first.append("u", StoredFeedback(), batch(difference(), model))
    assert second.load("u") == StoredFeedback() or second.load("u").stamp is None
    held = contents(database, second.series, fingerprint(again))
    assert (held.served.users, held.other.users, held.other.feedback) == (0, 1, 2)
    assert str(held.other) == "1 user has 2 comparisons"
    assert last_served(database, again, fingerprint(again)) == fingerprint(model)
    assert registered(database, again, follows=fingerprint(model)).series == first.series


def test_a_model_with_users_of_its_own_or_another_encoder_keeps_its_series(database, model, again):
    registered(database, model)
    own = registered(database, again)
    own.append("u", StoredFeedback(), batch(difference(), again))
    assert registered(database, again, follows=fingerprint(model)).series == fingerprint(again)
    other = replace(again, encoder=None)
    assert register(database, other, fingerprint(other), fingerprint(model)) == fingerprint(other)
    assert last_served(database, other, fingerprint(other)) is None


def test_a_database_of_the_first_version_is_migrated(model, tmp_path):
    """Its rows belong to the model of their column `model`."""
    path = tmp_path / "old.sqlite"
    with sqlite3.connect(path) as old:
        old.executescript(OLD)
        projected = np.array([[1, 2, 3]], "<f4").tobytes(), np.ones(1, "<f4").tobytes()
        old.execute("INSERT INTO users VALUES (?, 'u', 7, 1)", (fingerprint(model),))
        row = (fingerprint(model), *projected)
        old.execute("INSERT INTO updates VALUES (1, ?, 'u', 1, 0.0, 'k', x'00', 1, ?, ?)", row)
    old.close()
    database = prepared(f"sqlite:///{path}")
    stored = registered(database, model).load("u")
    assert (stored.stamp, stored.batches[0].key) == (7, "k")
    np.testing.assert_array_equal(stored.batches[0].projected, [[1, 2, 3]])
    database.close()


OLD = """
CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY);
INSERT INTO alembic_version VALUES ('0001');
CREATE TABLE users (model VARCHAR(32) NOT NULL, user_id TEXT NOT NULL, stamp BIGINT NOT NULL, version INTEGER NOT NULL,
    PRIMARY KEY (model, user_id));
CREATE TABLE updates (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, model VARCHAR(32) NOT NULL, user_id TEXT NOT NULL,
    version INTEGER NOT NULL, created FLOAT NOT NULL, "key" TEXT, digest BLOB NOT NULL, answers INTEGER NOT NULL,
    projected BLOB NOT NULL, count BLOB NOT NULL,
    CONSTRAINT one_update_a_version UNIQUE (model, user_id, version),
    CONSTRAINT one_update_a_key UNIQUE (model, user_id, "key"));
CREATE TABLE erasures (pending INTEGER NOT NULL PRIMARY KEY);
INSERT INTO erasures VALUES (0);
"""
