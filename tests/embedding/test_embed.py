"""Preferences to vectors in memory."""

from __future__ import annotations

import numpy as np

from counting_encoder import Counting
from lorerm import HashingEncoder, Preferences, embed
from small_choices import choices


def test_each_conversation_is_encoded_once():
    encoder = Counting()
    data = embed(Preferences.from_records(choices()), encoder)
    assert encoder.n == len(data.responses) == 30
    assert len(data) == 120


def test_rows_are_the_texts_own_vectors():
    preferences = Preferences.from_records(choices())
    encoder = HashingEncoder()
    data = embed(preferences, encoder)
    chosen, rejected = data.rows()
    np.testing.assert_array_equal(data.responses[chosen], encoder.encode(preferences.conversations("chosen")))
    np.testing.assert_array_equal(data.responses[rejected], encoder.encode(preferences.conversations("rejected")))


def test_carries_users_prompts_weights_and_the_encoder():
    rows = [{**row, "prompt_id": f"p{i % 5}", "weight": 1 + i % 2} for i, row in enumerate(choices())]
    preferences = Preferences.from_records(rows)
    data = embed(preferences, HashingEncoder())
    assert list(data.user_ids) == list(preferences.user_ids)
    assert list(data.prompt_ids) == [f"p{i % 5}" for i in range(120)]
    np.testing.assert_array_equal(data.weights, preferences.weights)
    assert data.encoder == HashingEncoder().identity
    assert data.reference is None


def test_splits_of_the_data_are_kept_where_there_are_any():
    preferences = Preferences.from_records(choices())
    assert embed(preferences, HashingEncoder()).splits is None
    labelled = preferences.with_splits(["train", None] * 60)
    assert list(embed(labelled, HashingEncoder()).splits) == ["train", None] * 60


def test_tells_progress():
    told = []
    embed(Preferences.from_records(choices()), HashingEncoder(), lambda done, total: told.append((done, total)))
    assert told[-1] == (30, 30)
