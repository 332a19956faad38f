import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorerm.data.schema import SPLITS, order_by_choice, order_by_ratings, parse_row, parse_split, parse_weight
from lorerm.errors import DataError
from refusals import refused

ROW = {"user_id": "ann", "prompt": "q", "chosen": "a", "rejected": "b"}
ASSISTANT = [{"role": "assistant", "content": "a"}]


def only_comparison(**changes):
    parsed = parse_row({**ROW, **changes})
    assert len(parsed.comparisons) == 1
    return parsed.comparisons[0]


def test_normal_form():
    comparison = only_comparison(extra="ignored")
    assert comparison.user_id == "ann"
    assert comparison.prompt == ({"role": "user", "content": "q"},)
    assert comparison.chosen == ({"role": "assistant", "content": "a"},)
    assert comparison.split is None
    assert comparison.weight == 1.0


def test_prompt_id_is_a_hash_of_the_prompt_whether_string_or_messages():
    """The expected value is fixed: it must never change, or old and new splits would differ."""
    as_list = only_comparison(prompt=[{"role": "user", "content": "q"}]).prompt_id
    assert only_comparison().prompt_id == as_list == only_comparison(prompt_id="").prompt_id == "7be60628a3ca0c78"
    assert only_comparison(prompt="other").prompt_id != as_list


def test_ids_become_strings():
    assert only_comparison(user_id=7.0, prompt_id="007")[:2] == ("7", "007")


@pytest.mark.parametrize("user", [None, " ", math.nan, True, 1.5, ["a"], "\ud800"])
def test_user_must_have_an_id(user):
    with refused(DataError, column="user_id"):
        only_comparison(user_id=user)


@pytest.mark.parametrize("column", ["user_id", "prompt", "chosen", "rejected"])
def test_absent_column_lists_those_found(column):
    row = {name: value for name, value in ROW.items() if name != column}
    with refused(DataError, *(f'"{name}"' for name in row), column=column):
        parse_row(row)


@pytest.mark.parametrize("column", ["prompt", "chosen", "rejected"])
@pytest.mark.parametrize("value", [None, math.nan])
def test_null_is_a_missing_value(column, value):
    with refused(DataError, column=column):
        only_comparison(**{column: value})


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
    """In a published pipeline, the brackets of the rejected side gave the chosen response away."""
    with refused(DataError, "chosen", "rejected", column="rejected"):
        only_comparison(chosen=chosen, rejected=rejected)


def test_lists_of_plain_strings_are_refused():
    with refused(DataError, column="chosen"):
        only_comparison(chosen=["a"], rejected=["b"])


def test_printed_list_is_accepted_in_messages_or_on_both_sides():
    assert only_comparison(chosen="['a']", rejected="['b']").chosen[0]["content"] == "['a']"
    printed = [{"role": "assistant", "content": "['b']"}]
    assert only_comparison(chosen=ASSISTANT, rejected=printed).rejected == tuple(printed)


@pytest.mark.parametrize(("chosen", "rejected"), [("a", "a"), (ASSISTANT, ASSISTANT), ("", "")])
def test_equal_responses_are_refused(chosen, rejected):
    with refused(DataError, "chosen", "rejected", column="rejected"):
        only_comparison(chosen=chosen, rejected=rejected)


def test_empty_response_is_a_response():
    assert only_comparison(rejected="").rejected == ({"role": "assistant", "content": ""},)


def test_response_that_repeats_the_prompt_is_refused():
    whole = [{"role": "user", "content": "q"}, *ASSISTANT]
    other = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}]
    with refused(DataError, column="chosen"):
        only_comparison(chosen=whole, rejected=other)


@pytest.mark.parametrize("weight", [0, -1, math.inf, "2", True])
def test_weight_must_be_positive_and_finite(weight):
    with refused(DataError, column="weight"):
        only_comparison(weight=weight)
    with refused(DataError, column="weight"):
        parse_weight(weight)


@pytest.mark.parametrize(("given", "weight"), [(None, 1.0), (math.nan, 1.0), (2, 2.0), (np.float32(0.5), 0.5)])
def test_weight_is_a_number_and_1_where_there_is_none(given, weight):
    assert parse_weight(given) == only_comparison(weight=given).weight == weight


@pytest.mark.parametrize(
    ("given", "expected"),
    [("train", "train"), ("TEST ", "test"), ("validation", "test"), ("valid", "test"), ("val", "test"), ("dev", "test")]
    + [(None, None), ("", None), (math.nan, None), ("unused", "unused")]
    + [(name, name) for name in SPLITS],
)
def test_names_of_splits(given, expected):
    assert parse_split(given) == expected


@pytest.mark.parametrize("name", ["holdout", 1, True, []])
def test_unknown_split(name):
    with refused(DataError, column="split"):
        parse_split(name)


def parse_several(**columns):
    return parse_row({"user_id": "ann", "prompt": "q", **columns})


def test_choice_becomes_weighted_comparisons():
    parsed = parse_several(responses=["a", "b", "c"], choice=1, weight=3)
    assert [(one.chosen[0]["content"], one.rejected[0]["content"], one.weight) for one in parsed.comparisons] == [
        ("b", "a", 1.5),
        ("b", "c", 1.5),
    ]


def test_ratings_of_messages_become_weighted_comparisons_and_ties():
    responses = [[{"role": "assistant", "content": text}] for text in "abc"]
    parsed = parse_several(responses=responses, ratings=np.array([2, 2, 1]))
    assert [one.weight for one in parsed.comparisons] == [0.5, 0.5]
    assert parsed.ties == 1


def test_chosen_and_rejected_take_precedence_over_responses():
    assert len(parse_row({**ROW, "responses": ["x", "y"]}).comparisons) == 1


@pytest.mark.parametrize(
    ("columns", "column"),
    [
        ({"responses": ["a", "b"]}, "choice"),
        ({"responses": ["a", "b"], "choice": 0, "ratings": [1, 2]}, "choice"),
        ({"responses": "ab", "choice": 0}, "responses"),
        ({"responses": ["a", ASSISTANT], "choice": 0}, "responses"),
        ({"responses": ["a", "['b']"], "choice": 0}, "responses"),
        ({"responses": ["a", None], "choice": 0}, "responses"),
        ({"responses": [], "choice": 0}, "responses"),
        ({"responses": ["a", "b"], "choice": 2}, "choice"),
        ({"responses": ["a", "b"], "ratings": [1]}, "ratings"),
        ({"responses": ["a", "b"], "rejected": "b"}, "chosen"),
    ],
)
def test_inconsistent_feedback_on_several_responses(columns, column):
    with refused(DataError, column=column):
        parse_several(**columns)


def test_entry_of_responses_is_named():
    with refused(DataError, "entry 2", column="responses"):
        parse_several(responses=["a", None], choice=0)


def test_row_must_be_a_mapping():
    with refused(DataError, "list"):
        parse_row([1])


texts = st.lists(st.sampled_from("abcdef"), min_size=2, max_size=6)


@given(texts, st.data())
def test_choice_counts_once_and_every_pair_is_kept_or_a_tie(responses, data):
    choice = data.draw(st.integers(0, len(responses) - 1))
    pairs, weight, ties = order_by_choice(responses, choice)
    assert len(pairs) + ties == len(responses) - 1
    assert all(better == choice and responses[better] != responses[worse] for better, worse in pairs)
    assert not pairs or math.isclose(weight * len(pairs), 1)


@given(texts, st.data())
def test_ratings_count_once_and_the_better_is_rated_higher(responses, data):
    ratings = data.draw(st.lists(st.integers(1, 3), min_size=len(responses), max_size=len(responses)))
    pairs, weight, ties = order_by_ratings(responses, ratings)
    assert len(pairs) + ties == math.comb(len(responses), 2)
    assert all(ratings[better] > ratings[worse] and responses[better] != responses[worse] for better, worse in pairs)
    assert not pairs or math.isclose(weight * len(pairs), 1)


def test_same_text_is_a_tie():
    assert order_by_choice(["a", "a", "b"], 0) == ([(0, 2)], 1.0, 1)
    assert order_by_ratings(["a", "a"], [1, 5]) == ([], 0.0, 1)


@pytest.mark.parametrize("choice", [-1, 2, True, "0", 0.5, None])
def test_choice_must_be_an_index_of_the_responses(choice):
    with refused(DataError, "from 0 to 1", column="choice"):
        order_by_choice(["a", "b"], choice)


@pytest.mark.parametrize(
    "ratings", [[1], [1, 2, 3], [1, None], [1, math.nan], ["1", "2"], 3, [True, False], [1, 2, "x"]]
)
def test_ratings_must_be_one_number_for_each_response(ratings):
    with refused(DataError, "2", column="ratings"):
        order_by_ratings(["a", "b"], ratings)


@pytest.mark.parametrize("order", [{"choice": 0}, {"ratings": [1]}])
def test_one_response_cannot_be_compared(order):
    with refused(DataError, "1", column="responses"):
        parse_several(responses=["a"], **order)
