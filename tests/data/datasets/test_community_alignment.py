"""Community Alignment: turns, the preferred response against each other one, languages."""

from __future__ import annotations

import pytest

from lorerm.data.datasets import read_dataset
from lorerm.errors import DataError
from published_samples import community_row, write_jsonl
from refusals import refused

FOUR = ["ay", "bee", "cee", "dee"]


def load(data, split=None, **options):
    return read_dataset("community-alignment", split=split, data=data, **options)


def read(tmp_path, *rows, **options):
    return load(write_jsonl(tmp_path / "full.jsonl", list(rows)), **options)


def whole(name="c1", annotator="a1", language="en", prompt="Hello?", preferred="response_b"):
    return community_row(name, annotator, language, [(prompt, FOUR, preferred)])


def test_preferred_response_is_compared_with_each_other_one(tmp_path):
    preferences = read(tmp_path, whole()).preferences
    assert [turns[0]["content"] for turns in preferences.messages("chosen")] == ["bee"] * 3
    assert [turns[0]["content"] for turns in preferences.messages("rejected")] == ["ay", "cee", "dee"]
    assert preferences.weights.sum() == pytest.approx(1)
    assert set(preferences.user_ids) == {"a1"}


def test_later_turns_follow_the_preferred_responses(tmp_path):
    turns = [("One?", FOUR, "response_a"), ("Two?", FOUR, "response_d"), ("Three?", FOUR, "response_c")]
    preferences = read(tmp_path, community_row("c", "a", "en", turns)).preferences
    last = preferences.messages("prompt")[-1]
    assert [turn["content"] for turn in last] == ["One?", "ay", "Two?", "dee", "Three?"]
    assert len(preferences) == 9
    assert len(set(preferences.prompt_ids)) == 1


def test_conversations_that_begin_with_the_same_prompt_have_one_prompt_id(tmp_path):
    preferences = read(tmp_path, whole("c1", "a1"), whole("c2", "a2"), whole("c3", "a3", prompt="Bye?")).preferences
    ids = dict(zip(preferences.user_ids, preferences.prompt_ids, strict=True))
    assert ids["a1"] == ids["a2"] != ids["a3"]


def test_languages_are_a_filter_and_an_unknown_one_an_error(tmp_path):
    rows = (whole("c1", "a1", "en"), whole("c2", "a2", "it"), whole("c3", "a3", "hi"))
    loaded = read(tmp_path, *rows, languages=["it", "hi"])
    assert set(loaded.preferences.user_ids) == {"a2", "a3"}
    assert "1 left out, in other languages than those asked for: 2 remain" in loaded.reading
    with refused(DataError, "'Klingon'", "en, hi, it", file=str(tmp_path / "full.jsonl"), argument="languages"):
        read(tmp_path, *rows, languages=["it", "Klingon"])


def test_incomplete_turns_are_counted_and_end_the_conversation(tmp_path):
    gap = community_row(
        "c2", "a2", "en", [("One?", FOUR, "response_a"), (None, [None] * 4, None), ("Three?", FOUR, "response_a")]
    )
    unpreferred = community_row("c3", "a3", "en", [("One?", FOUR, None), ("Two?", FOUR, "response_a")])
    same = community_row("c4", "a4", "en", [("One?", ["x"] * 4, "response_a"), ("Two?", FOUR, "response_a")])
    empty = community_row("c5", "a5", "en", [])
    loaded = read(tmp_path, whole(), gap, unpreferred, same, empty, whole())
    assert loaded.reading[:3] == (
        "conversations read: 6",
        "1 left out, without a first message: 5 remain",
        "1 left out, with the id of a conversation already read: 4 remain",
    )
    assert [line.split(" left out")[0] for line in loaded.reading[4:]] == ["1", "1", "2"]
    assert list(dict.fromkeys(loaded.preferences.user_ids)) == ["a1", "a2", "a4"]


def test_responses_that_are_missing_are_not_compared(tmp_path):
    turns = [("One?", ["ay", None, "", "dee"], "response_d")]
    preferences = read(tmp_path, community_row("c", "a", "en", turns)).preferences
    assert [turns[0]["content"] for turns in preferences.messages("rejected")] == ["ay"]


def test_prompt_that_is_no_text(tmp_path):
    with refused(DataError, "AttributeError", row=1):
        read(tmp_path, {**whole(), "first_turn_prompt": ["a list"]})


def test_missing_column_is_named(tmp_path):
    row = whole()
    del row["first_turn_response_c"]
    with refused(DataError, row=1, column="first_turn_response_c"):
        read(tmp_path, row)
