"""The distinct conversations of some preferences."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest

from lorerm import Preferences
from lorerm.embedding.responses import collect
from lorerm.errors import DataError, ModelError, RunError


def pair(prompt, chosen, rejected, user="u"):
    return {"user_id": user, "prompt": prompt, "chosen": chosen, "rejected": rejected}


def responses(distinct):
    return [conversation[-1]["content"] for conversation in distinct.conversations(slice(0, len(distinct)))]


def n_distinct(*rows):
    with collect([Preferences.from_records(rows)]) as distinct:
        return len(distinct)


def test_each_conversation_once_and_those_of_a_prompt_together():
    """Whatever the order in which they come, and in how many chunks."""
    rows = [pair("p", "a", "b"), pair("q", "b", "a", "v"), pair("p", "c", "a"), pair("q", "a", "b")]
    preferences = Preferences.from_records(rows)
    chunks = [preferences.select([3, 2]), preferences.select([1, 0])]
    for given in ([preferences], chunks):
        with collect(given) as distinct:
            assert responses(distinct) == ["a", "b", "c", "a", "b"]
            chosen, rejected = distinct.rows(preferences)
            assert [message["content"] for message in distinct.conversations(slice(3, 4))[0]] == ["q", "a"]
        np.testing.assert_array_equal(chosen, [0, 4, 2, 3])
        np.testing.assert_array_equal(rejected, [1, 3, 0, 4])


def test_turns_of_a_dialogue_stand_together():
    """Between them stands no conversation that begins otherwise."""
    turns = [{"role": role, "content": text} for role, text in [("user", "m"), ("assistant", "x"), ("user", "m")]]
    rows = [pair("a", "1", "2"), pair(turns, "3", "4"), pair("m", "x", "5"), pair("z", "6", "7")]
    with collect([Preferences.from_records(rows)]) as distinct:
        assert set(responses(distinct)[2:6]) == {"3", "4", "x", "5"}


def test_same_response_to_another_prompt_is_another_conversation():
    assert n_distinct(pair("p", "a", "b"), pair("q", "a", "b")) == 4


def test_string_and_message_are_one_conversation():
    """The contract takes both for the same."""
    assert n_distinct(pair("p", "a", "b"), pair([{"role": "user", "content": "p"}], "a", "b")) == 2


def test_turns_are_not_joined():
    """One turn "ab" is not two turns "a" and "b"."""
    two = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    assert n_distinct(pair(two, "x", "y"), pair("ab", "x", "y")) == 4


def test_text_comes_back_as_it_was():
    text = 'quotes " \\ and \u2028 lines \n, \U0001f600, \x00'
    with collect([Preferences.from_records([pair("p", text, "")])]) as distinct:
        assert sorted(responses(distinct)) == sorted(["", text])


def test_errors_name_user_and_prompt():
    rows = [{**pair("p", "a", "b"), "prompt_id": "x"}, {**pair("p", "a", "c", "v"), "prompt_id": "y"}]
    with collect([Preferences.from_records(rows)]) as distinct:
        for start, problem in ((0, "conversations[2] is long"), (2, "conversations[0] is long")):
            with pytest.raises(DataError) as raised, distinct.naming(start):
                raise DataError(problem, "shorten it")
            assert str(raised.value) == "the rejected response of user 'v' to prompt 'y' is long: shorten it"
        with pytest.raises(ModelError, match="no memory"), distinct.naming():
            raise ModelError("no memory", "buy some")


def test_database_on_disk_goes_when_it_is_no_longer_needed(tmp_path):
    path = tmp_path / "d.sqlite"
    path.write_text("left by a process that was killed")
    with collect([Preferences.from_records([pair("p", "a", "b")])], path) as distinct:
        assert path.exists()
        assert len(distinct) == 2
    assert list(tmp_path.iterdir()) == []


def test_database_that_cannot_be_written_is_one_line(tmp_path):
    with (
        pytest.raises(RunError, match=r"d.sqlite could not be written \(.*\): free some disk space"),
        collect([Preferences.from_records([pair("p", "a", "b")])], tmp_path / "none" / "d.sqlite"),
    ):
        pass
    with pytest.raises(RunError, match="disk is full"), collect([Preferences.from_records([pair("p", "a", "b")])]):
        raise sqlite3.OperationalError("database or disk is full")
