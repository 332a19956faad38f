"""The distinct conversations of some preferences."""

from __future__ import annotations

import numpy as np
import pytest

from lorerm import Preferences
from lorerm.encoding.responses import DistinctResponses
from lorerm.errors import DataError, ModelError


def pair(prompt, chosen, rejected, user="u"):
    return {"user_id": user, "prompt": prompt, "chosen": chosen, "rejected": rejected}


def test_each_conversation_once_in_order_of_first_appearance():
    rows = [pair("p", "a", "b"), pair("p", "b", "a", "v"), pair("p", "c", "a")]
    distinct = DistinctResponses.of(Preferences.from_records(rows))
    assert [conversation[-1]["content"] for conversation in distinct.conversations] == ["a", "b", "c"]
    np.testing.assert_array_equal(distinct.chosen, [0, 1, 2])
    np.testing.assert_array_equal(distinct.rejected, [1, 0, 0])


def test_same_response_to_another_prompt_is_another_conversation():
    distinct = DistinctResponses.of(Preferences.from_records([pair("p", "a", "b"), pair("q", "a", "b")]))
    assert len(distinct.conversations) == 4


def test_string_and_message_are_one_conversation():
    """The contract takes both for the same."""
    messages = [{"role": "user", "content": "p"}]
    distinct = DistinctResponses.of(Preferences.from_records([pair("p", "a", "b"), pair(messages, "a", "b")]))
    assert len(distinct.conversations) == 2


def test_turns_are_not_joined():
    """One turn "ab" is not two turns "a" and "b"."""
    two = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    distinct = DistinctResponses.of(Preferences.from_records([pair(two, "x", "y"), pair("ab", "x", "y")]))
    assert len(distinct.conversations) == 4


def test_errors_name_user_and_prompt():
    rows = [{**pair("p", "a", "b"), "prompt_id": "x"}, {**pair("p", "a", "c", "v"), "prompt_id": "y"}]
    preferences = Preferences.from_records(rows)
    distinct = DistinctResponses.of(preferences)
    for start, problem in (
        (0, "conversations[2] is long"),
        (2, "conversations[0] is long"),
        (1, "responses row 1 is long"),
    ):
        with pytest.raises(DataError) as raised, distinct.naming(preferences, start):
            raise DataError(problem, "shorten it")
        assert str(raised.value) == "the rejected response of user 'v' to prompt 'y' is long: shorten it"
    with pytest.raises(ModelError, match="no memory"), distinct.naming(preferences):
        raise ModelError("no memory", "buy some")
