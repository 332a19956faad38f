import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorerm.data.account import Account
from lorerm.data.feedback.rows import parse_row
from lorerm.data.feedback.several import order_by_choice, order_by_ratings
from lorerm.errors import DataError
from refusals import refused

ASSISTANT = [{"role": "assistant", "content": "a"}]


def parse_several(**columns):
    """Return the comparisons and the number of ties."""
    account = Account()
    return parse_row({"user_id": "ann", "prompt": "q", **columns}, account=account), account.n_ties


def test_choice_becomes_weighted_comparisons():
    comparisons, _ = parse_several(responses=["a", "b", "c"], choice=1, weight=3)
    assert [(one.chosen[0]["content"], one.rejected[0]["content"], one.weight) for one in comparisons] == [
        ("b", "a", 1.5),
        ("b", "c", 1.5),
    ]


def test_ratings_of_messages_become_weighted_comparisons_and_ties():
    responses = [[{"role": "assistant", "content": text}] for text in "abc"]
    comparisons, n_ties = parse_several(responses=responses, ratings=np.array([2, 2, 1]))
    assert [one.weight for one in comparisons] == [0.5, 0.5]
    assert n_ties == 1


@pytest.mark.parametrize("responses", ["['a', 'b', 'c']", '["a", "b", "c"]', ("a", "b", "c")])
@pytest.mark.parametrize("choice", ["1", 1.0, None])
@pytest.mark.parametrize("ratings", ["[1, 2.5, 1]", ["1", "2", "1"]])
def test_lists_and_numbers_may_be_texts(responses, choice, ratings):
    order = {"ratings": ratings} if choice is None else {"choice": choice}
    comparisons, _ = parse_several(responses=responses, **order)
    assert [one.chosen[0]["content"] for one in comparisons] == ["b", "b"]


@pytest.mark.parametrize(
    ("columns", "column"),
    [
        ({"responses": ["a", "b"]}, "choice"),
        ({"responses": ["a", "b"], "choice": 0, "ratings": [1, 2]}, "choice"),
        ({"responses": "ab", "choice": 0}, "responses"),
        ({"responses": ["a", ASSISTANT], "choice": 0}, "responses"),
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


@pytest.mark.parametrize("choice", [-1, 2, True, "x", "0.5", 0.5, None])
def test_choice_must_be_an_index_of_the_responses(choice):
    with refused(DataError, "from 0 to 1", column="choice"):
        order_by_choice(["a", "b"], choice)


@pytest.mark.parametrize(
    "ratings", [[1], [1, 2, 3], [1, None], [1, math.nan], ["1", "b"], "12", 3, [True, False], [1, 2, "x"]]
)
def test_ratings_must_be_one_number_for_each_response(ratings):
    with refused(DataError, "2", column="ratings"):
        order_by_ratings(["a", "b"], ratings)


@pytest.mark.parametrize("order", [{"choice": 0}, {"ratings": [1]}])
def test_one_response_cannot_be_compared(order):
    with refused(DataError, "1", column="responses"):
        parse_several(responses=["a"], **order)
