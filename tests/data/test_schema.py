import math

import numpy as np
import pytest

from lorerm.data.schema import CELLS, parse_row, parse_split
from lorerm.errors import DataError

ROW = {"user_id": "ann", "prompt": "q", "chosen": "a", "rejected": "b"}
ASSISTANT = [{"role": "assistant", "content": "a"}]


def only_pair(**changes):
    parsed = parse_row({**ROW, **changes})
    assert len(parsed.pairs) == 1
    return parsed.pairs[0]


def test_normal_form():
    pair = only_pair(extra="ignored")
    assert pair.user_id == "ann"
    assert pair.prompt == ({"role": "user", "content": "q"},)
    assert pair.chosen == ({"role": "assistant", "content": "a"},)
    assert pair.split is None
    assert pair.weight == 1.0


def test_prompt_id_is_a_hash_of_the_prompt_in_whatever_form():
    """The expected value is fixed: it must never change, or old and new splits would differ."""
    as_list = only_pair(prompt=[{"role": "user", "content": "q"}])
    assert only_pair().prompt_id == as_list.prompt_id == only_pair(prompt_id="").prompt_id == "7be60628a3ca0c78"
    assert only_pair(prompt="other").prompt_id != as_list.prompt_id


@pytest.mark.parametrize(("given", "expected"), [(7, "7"), (7.0, "7"), (np.int64(7), "7"), (" x", " x"), ("é", "é")])
def test_identifiers_become_strings(given, expected):
    assert only_pair(user_id=given).user_id == expected
    assert only_pair(prompt_id=given).prompt_id == expected


@pytest.mark.parametrize("user", [None, "", " ", math.nan])
def test_user_must_be_named(user):
    with pytest.raises(DataError, match='column "user_id" is empty: name the user'):
        only_pair(user_id=user)


@pytest.mark.parametrize("user", [True, 1.5, ["a"], math.inf, "\ud800"])
def test_user_must_be_a_name(user):
    with pytest.raises(DataError, match='column "user_id"'):
        only_pair(user_id=user)


@pytest.mark.parametrize("column", ["user_id", "prompt", "chosen", "rejected"])
def test_absent_column_lists_those_found(column):
    row = {name: value for name, value in ROW.items() if name != column}
    found = ", ".join(f'"{name}"' for name in row)
    with pytest.raises(DataError, match=rf'no column "{column}" \(columns found: {found}\): name it'):
        parse_row(row)


@pytest.mark.parametrize("column", ["prompt", "chosen", "rejected"])
@pytest.mark.parametrize("value", [None, math.nan])
def test_null_is_missing(column, value):
    with pytest.raises(DataError, match=f'column "{column}" is missing'):
        only_pair(**{column: value})


@pytest.mark.parametrize(
    ("chosen", "rejected"),
    [
        ("a", ["b"]),
        (["a"], "b"),
        ("a", [{"role": "assistant", "content": "b"}]),
        ("a", "['b']"),
        ('["a", "c"]', "b"),
        ("a", '[{"role": "assistant", "content": "b"}]'),
    ],
)
def test_mixed_string_and_list_is_refused(chosen, rejected):
    """The fault of a published pipeline: the brackets of one side give the answer away."""
    with pytest.raises(DataError, match=r'columns "chosen" and "rejected" are mixed, a string and .*list: store both'):
        only_pair(chosen=chosen, rejected=rejected)


def test_lists_of_plain_strings_are_refused():
    with pytest.raises(DataError, match='column "chosen" is a list of strings'):
        only_pair(chosen=["a"], rejected=["b"])


def test_text_that_is_a_printed_list_may_stand_in_messages_or_on_both_sides():
    assert only_pair(chosen="['a']", rejected="['b']").chosen[0]["content"] == "['a']"
    printed = [{"role": "assistant", "content": "['b']"}]
    assert only_pair(chosen=ASSISTANT, rejected=printed).rejected == tuple(printed)


@pytest.mark.parametrize(("chosen", "rejected"), [("a", "a"), (ASSISTANT, ASSISTANT), ("", "")])
def test_equal_sides_are_refused(chosen, rejected):
    with pytest.raises(DataError, match="are the same: leave the row out"):
        only_pair(chosen=chosen, rejected=rejected)


def test_empty_response_is_a_response():
    assert only_pair(rejected="").rejected == ({"role": "assistant", "content": ""},)


def test_response_that_repeats_the_prompt_is_refused():
    whole = [{"role": "user", "content": "q"}, *ASSISTANT]
    other = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}]
    with pytest.raises(DataError, match='column "chosen" repeats the turns of the prompt'):
        only_pair(chosen=whole, rejected=other)


@pytest.mark.parametrize("weight", [0, -1, math.inf, "2", True])
def test_weight_must_be_positive_and_finite(weight):
    with pytest.raises(DataError, match='column "weight" is'):
        only_pair(weight=weight)


@pytest.mark.parametrize(
    ("given", "expected"),
    [("train", "train"), ("TEST ", "test"), ("validation", "test"), ("valid", "test"), ("val", "test"), ("dev", "test")]
    + [(None, None), ("", None), (math.nan, None), ("unused", "unused")]
    + [(cell, cell) for cell in CELLS],
)
def test_names_of_splits(given, expected):
    assert parse_split(given) == expected


@pytest.mark.parametrize("name", ["holdout", 1, True, []])
def test_unknown_split(name):
    with pytest.raises(DataError, match=r'column "split" is .*: use train, test or validation'):
        parse_split(name)


def judged(**columns):
    return parse_row({"user_id": "ann", "prompt": "q", **columns})


def test_choice_becomes_weighted_pairs():
    parsed = judged(responses=["a", "b", "c"], choice=1, weight=3)
    assert [(pair.chosen[0]["content"], pair.rejected[0]["content"], pair.weight) for pair in parsed.pairs] == [
        ("b", "a", 1.5),
        ("b", "c", 1.5),
    ]


def test_ratings_of_messages_become_weighted_pairs_and_ties():
    responses = [[{"role": "assistant", "content": text}] for text in "abc"]
    parsed = judged(responses=responses, ratings=np.array([2, 2, 1]))
    assert [pair.weight for pair in parsed.pairs] == [0.5, 0.5]
    assert parsed.ties == 1


def test_pair_columns_go_before_responses():
    assert len(parse_row({**ROW, "responses": ["x", "y"]}).pairs) == 1


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        ({"responses": ["a", "b"]}, "neither given"),
        ({"responses": ["a", "b"], "choice": 0, "ratings": [1, 2]}, "both given"),
        ({"responses": "ab", "choice": 0}, "is a str"),
        ({"responses": ["a", ASSISTANT], "choice": 0}, "are mixed"),
        ({"responses": ["a", "['b']"], "choice": 0}, "are mixed"),
        ({"responses": ["a", None], "choice": 0}, "entry 2 is missing"),
        ({"responses": [], "choice": 0}, "holds 0"),
    ],
)
def test_judgements_that_do_not_add_up(columns, match):
    with pytest.raises(DataError, match=match):
        judged(**columns)


def test_row_that_is_no_mapping():
    with pytest.raises(DataError, match="it is a list"):
        parse_row([1])
