import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorerm.data.judgements import pairs_of_choice, pairs_of_ratings
from lorerm.errors import DataError

responses = st.lists(st.sampled_from("abcdef"), min_size=2, max_size=6)


@given(responses, st.data())
def test_choice_counts_once_and_every_pair_is_kept_or_a_tie(texts, data):
    choice = data.draw(st.integers(0, len(texts) - 1))
    judged = pairs_of_choice(texts, choice)
    assert len(judged.pairs) + judged.ties == len(texts) - 1
    assert all(better == choice and texts[better] != texts[worse] for better, worse in judged.pairs)
    assert not judged.pairs or math.isclose(judged.weight * len(judged.pairs), 1)


@given(responses, st.data())
def test_ratings_count_once_and_the_better_is_rated_higher(texts, data):
    ratings = data.draw(st.lists(st.integers(1, 3), min_size=len(texts), max_size=len(texts)))
    judged = pairs_of_ratings(texts, ratings)
    assert len(judged.pairs) + judged.ties == math.comb(len(texts), 2)
    assert all(ratings[better] > ratings[worse] and texts[better] != texts[worse] for better, worse in judged.pairs)
    assert not judged.pairs or math.isclose(judged.weight * len(judged.pairs), 1)


def test_same_text_is_a_tie():
    assert pairs_of_choice(["a", "a", "b"], 0) == ([(0, 2)], 1.0, 1)
    assert pairs_of_ratings(["a", "a"], [1, 5]) == ([], 0.0, 1)


@pytest.mark.parametrize("choice", [-1, 2, True, "0", 0.5, None])
def test_choice_outside_the_responses(choice):
    with pytest.raises(DataError, match=r'"choice" is .* from 0 to 1'):
        pairs_of_choice(["a", "b"], choice)


@pytest.mark.parametrize("ratings", [[1], [1, 2, 3], [1, None], [1, math.nan], ["1", "2"], 3, [True, False]])
def test_ratings_that_are_not_one_number_each(ratings):
    with pytest.raises(DataError, match="one finite number for each"):
        pairs_of_ratings(["a", "b"], ratings)


@pytest.mark.parametrize("judge", [lambda texts: pairs_of_choice(texts, 0), lambda texts: pairs_of_ratings(texts, [1])])
def test_one_response_is_no_judgement(judge):
    with pytest.raises(DataError, match="holds 1 of the at least two"):
        judge(["a"])
