"""Pol.is: agreed against disagreed, within blocks; what is left out; the conversation in the package."""

from __future__ import annotations

import csv

import pytest

from lorerm.data.datasets import polis, read_dataset
from lorerm.data.leakage import check_leaks
from lorerm.errors import DataError
from published_samples import polis_files, polis_sample
from refusals import refused


def read(folder, **options):
    return read_dataset("polis", data=folder, **options)


def contents(preferences, end):
    return [turns[0]["content"] for turns in preferences.messages(end)]


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return polis_sample(tmp_path_factory.mktemp("polis"))


def published_votes(folder):
    with (folder / "comments.csv").open(encoding="utf-8", newline="") as file:
        text = {row["comment-id"]: row["comment-body"] for row in csv.DictReader(file)}
    with (folder / "participants-votes.csv").open(encoding="utf-8", newline="") as file:
        return {
            (f"participant-{row['participant']}", text[number]): row[number]
            for row in csv.DictReader(file)
            for number in text
        }


def test_agreed_is_preferred_to_disagreed(sample):
    preferences, votes = read(sample).preferences, published_votes(sample)
    rows = zip(preferences.user_ids, contents(preferences, "chosen"), contents(preferences, "rejected"), strict=True)
    assert {(votes[user, chosen], votes[user, rejected]) for user, chosen, rejected in rows} == {("1", "-1")}


@pytest.mark.parametrize("new_statements", [False, True])
def test_no_statement_is_in_two_prompts_of_a_user(sample, new_statements):
    """So that a user's test statements are new to them; or, if blocks are held out, to everybody."""
    preferences = read(sample, new_statements=new_statements).preferences
    found = {}
    for end in ("chosen", "rejected"):
        for user, prompt, text in zip(
            preferences.user_ids, preferences.prompt_ids, contents(preferences, end), strict=True
        ):
            found.setdefault(text if new_statements else (user, text), set()).add(prompt)
    assert {len(prompts) for prompts in found.values()} == {1}
    assert new_statements == (len(set(preferences.prompt_ids)) <= polis.N_BLOCKS)


def test_comparisons_per_user_are_limited(sample):
    users = list(read(sample, max_comparisons=12).preferences.user_ids)
    assert {users.count(user) for user in users} == {12}


def test_seed_changes_the_blocks(sample):
    assert list(read(sample).preferences.prompt_ids) == list(read(sample, seed=0).preferences.prompt_ids)
    first, second = (contents(read(sample, seed=seed).preferences, "chosen") for seed in (0, 1))
    assert first != second


def test_what_is_left_out_is_counted(tmp_path):
    statements = [(number, 1, f"Number {number}.") for number in range(40)]
    statements += [(40, -1, "Rejected."), (41, 1, "  ")]
    votes = {user: {number: 1 - 2 * (number % 2) for number in range(42)} for user in (0, 1)}
    votes |= {2: {0: 1, 1: -1}, 3: {}}
    loaded = read(polis_files(tmp_path, statements, votes))
    assert set(loaded.preferences.user_ids) == {"participant-0", "participant-1"}
    assert loaded.reading == (
        "statements read: 42",
        "1 left out, rejected by the moderators: 41 remain",
        "1 left out, blank: 40 remain",
        "users read: 3",
        "1 left out, with fewer than 10 comparisons: 2 remain",
    )


def test_equal_texts_are_not_compared(tmp_path):
    statements = [(number, 1, f"Number {number // 2}.") for number in range(60)]
    votes = {0: {number: 1 - 2 * (number % 2) for number in range(60)}}
    preferences = read(polis_files(tmp_path, statements, votes)).preferences
    assert all(a != b for a, b in zip(contents(preferences, "chosen"), contents(preferences, "rejected"), strict=True))


def test_files_of_another_layout_are_located(tmp_path):
    folder = polis_files(tmp_path, [(0, 1, "One."), (1, 1, "Two.")], {0: {0: 1, 1: 5}})
    with refused(DataError, "'5'", file=str(folder / "participants-votes.csv"), row=1, column="1"):
        read(folder)
    polis_files(tmp_path, [("one", 1, "One.")], {0: {}})
    with refused(DataError, "'one'", file=str(folder / "comments.csv"), row=1, column="comment-id"):
        read(folder)


def test_too_few_comparisons(tmp_path):
    with refused(DataError, file=str(tmp_path), row=None):
        read(polis_files(tmp_path, [(0, 1, "One."), (1, 1, "Two.")], {0: {0: 1, 1: -1}}))


def test_conversation_in_the_package():
    """It has its attribution beside it, and the popularity of its statements is not taken for a leak."""
    loaded = read_dataset("polis")
    assert len(set(loaded.preferences.user_ids)) == 300
    assert check_leaks(loaded.preferences).warnings() == []
    attribution = (polis.SAMPLE / "ATTRIBUTION.md").read_text("utf-8").replace("\n> ", " ")
    for part in (
        polis.ATTRIBUTION.partition(" at the following link")[0],
        "https://creativecommons.org/licenses/by/4.0/",
    ):
        assert part in attribution
    assert polis.ATTRIBUTION.rpartition(" ")[2] in attribution
