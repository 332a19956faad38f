"""Pairs over shared responses behave as preferences do, and take the memory of numbers."""

from __future__ import annotations

import numpy as np
import pytest

from lorerm import HashingEncoder, Preferences, embed, split
from lorerm.data.shared import CHOICES, RESPONSES, SharedPreferences
from lorerm.errors import DataError

RESPONSES_SHOWN = [(f"p{p}", f"Prompt {p}?", f"Answer {i} to {p}") for p in range(6) for i in range(3)]


@pytest.fixture
def shared():
    user = np.repeat(np.arange(5), 6)
    prompt = np.tile(np.arange(6), 5)
    return SharedPreferences.build(
        RESPONSES_SHOWN, [f"u{i}" for i in range(5)], user, 3 * prompt + user % 3, 3 * prompt + (user + 1) % 3
    )


@pytest.fixture
def copied(shared):
    """The same pairs as rows of text."""
    return Preferences.from_records(
        {
            "user_id": user,
            "prompt_id": prompt,
            "prompt": RESPONSES_SHOWN[better][1],
            "chosen": RESPONSES_SHOWN[better][2],
            "rejected": RESPONSES_SHOWN[worse][2],
        }
        for user, prompt, better, worse in zip(
            shared.user_ids, shared.prompt_ids, shared.chosen, shared.rejected, strict=True
        )
    )


def test_columns_are_those_of_copied_preferences(shared, copied):
    assert list(shared.user_ids) == list(copied.user_ids)
    assert list(shared.prompt_ids) == list(copied.prompt_ids)
    assert list(shared.weights) == list(copied.weights)
    for column in ("prompt", "chosen", "rejected"):
        assert shared.messages(column) == copied.messages(column)
    for side in ("chosen", "rejected"):
        assert shared.conversations(side) == copied.conversations(side)


def test_users_are_left_out_with_the_texts_that_only_they_compared(shared):
    left = shared.without_users(["u1", "u4", "nobody"])  # both compared the second answer with the third
    assert left.names == ("u0", "u2", "u3")
    kept = shared.select(np.flatnonzero(~np.isin(shared.user_ids, ["u1", "u4"])))
    assert list(left.user_ids) == list(kept.user_ids)
    assert left.conversations("chosen") == kept.conversations("chosen")
    alone = shared.without_users(["u0", "u2", "u3"])  # what is left is about the second and third answers
    texts = [conversation[-1]["content"] if conversation else None for conversation in alone.all_conversations()]
    assert texts == [None if text.startswith("Answer 0") else text for _, _, text in RESPONSES_SHOWN]
    assert [row["prompt_id"] for row in alone.responses.to_pylist()][:4] == ["", "p0", "p0", ""]


def test_split_is_that_of_copied_preferences(shared, copied):
    one, other = split(shared, seed=3), split(copied, seed=3)
    assert one.summary == other.summary
    assert one.test_unseen.conversations("chosen") == other.test_unseen.conversations("chosen")


def test_embedded_differences_are_those_of_copied_preferences(shared, copied):
    def differences(preferences):
        data = embed(preferences, HashingEncoder())
        chosen, rejected = data.rows()
        return np.asarray(data.responses)[chosen] - np.asarray(data.responses)[rejected]

    assert np.allclose(differences(shared), differences(copied))
    assert len(embed(shared, HashingEncoder()).responses) == len(RESPONSES_SHOWN)


def test_written_and_read_again(shared, tmp_path):
    labels = np.array(["train_seen", None, "test_seen"], dtype=object)[np.arange(30) % 3]
    labelled = shared.with_splits(labels)
    labelled.write(tmp_path)
    again = SharedPreferences.read(tmp_path)
    assert list(again.user_ids) == list(shared.user_ids)
    assert list(again.splits) == list(labels)
    assert again.conversations("rejected") == shared.conversations("rejected")
    before = {name: (tmp_path / name).read_bytes() for name in (RESPONSES, CHOICES)}
    again.write(tmp_path)
    assert before == {name: (tmp_path / name).read_bytes() for name in (RESPONSES, CHOICES)}
    shared.write(tmp_path)
    assert set(SharedPreferences.read(tmp_path).splits) == {None}


def test_damaged_files_are_one_line(shared, tmp_path):
    with pytest.raises(DataError, match="prepare them again"):
        SharedPreferences.read(tmp_path)
    shared.write(tmp_path)
    (tmp_path / CHOICES).write_bytes(b"PAR1")
    with pytest.raises(DataError, match="prepare them again"):
        SharedPreferences.read(tmp_path)


def test_pair_outside_is_refused(shared):
    with pytest.raises(DataError, match="points outside"):
        SharedPreferences.build(RESPONSES_SHOWN, ["u"], np.zeros(1, int), np.array([18]), np.zeros(1, int))


def test_response_is_checked_as_the_contract_says():
    with pytest.raises(DataError, match="prompt of response 0 is blank"):
        SharedPreferences.build([("p", " ", "a")], ["u"], np.zeros(0, int), np.zeros(0, int), np.zeros(0, int))


def test_pairs_come_some_at_a_time(shared, monkeypatch):
    monkeypatch.setattr("lorerm.data.shared._PAIRS_AT_A_TIME", 7)
    parts = list(shared)
    assert [len(part) for part in parts] == [7, 7, 7, 7, 2]
    assert [user for part in parts for user in part.user_ids] == list(shared.user_ids)
