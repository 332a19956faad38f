"""Batches hold every conversation once, share what pays, and keep within the budget."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorerm.embedding.transformers.batches import Sharing, plan_batches
from lorerm.embedding.transformers.prefix_tree import tree_size

TREES = Sharing(trees=True, break_even=1024)
sequences_lists = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9).map(tuple), max_size=12)


def posts(n_posts=4, n_answers=6, prompt=350, answer=35):
    """Lengths as in TLDR."""
    return [
        tuple(range(1000 * post, 1000 * post + prompt)) + tuple(range(90_000 + 100 * k, 90_000 + 100 * k + answer))
        for post in range(n_posts)
        for k in range(n_answers)
    ]


def run(batches):
    return sum(batch.n_tokens for batch in batches)


@given(sequences_lists, st.booleans(), st.integers(1, 30))
def test_every_place_once_with_its_own_sequence(sequences, trees, budget):
    batches = plan_batches(sequences, Sharing(trees, 1024), budget)
    assert sorted(place for batch in batches for place in batch.places) == list(range(len(sequences)))
    for batch in batches:
        assert batch.n_tokens <= budget or (len(batch.rows) == 1 and len(batch.rows[0].members) == 1)
        for row in batch.rows:
            for number, places in enumerate(row.members):
                assert {sequences[place] for place in places} == {row.sequence(number)}


def test_nearly_nothing_runs_twice():
    sequences = posts()
    assert run(plan_batches(sequences * 2, TREES, 2048)) <= 1.1 * tree_size(sequences)
    assert run(plan_batches(sequences, Sharing(False, 1024), 2048)) == sum(map(len, sequences))


def test_sharing_that_costs_more_than_it_saves_is_left():
    """A short prompt under long answers: every token would look at all the others in vain."""
    batches = plan_batches(posts(n_posts=1, prompt=10, answer=2000), TREES, 100_000)
    assert all(len(row.members) == 1 for batch in batches for row in batch.rows)


def test_limits_of_the_model_are_kept():
    sharing = Sharing(True, 1024, longest_in_tree=380, longest_in_batch=380)
    batches = plan_batches(posts(answer=35) + posts(answer=20), sharing, 4096)
    for batch in batches:
        assert batch.length <= 380 or all(len(row.members) == 1 for row in batch.rows)
        assert max(row.depth.max() + 1 for row in batch.rows) <= 380 or len(batch.rows) == 1


def test_order_of_the_input_changes_no_batch():
    sequences = posts()

    def shape(given_):
        return [[row.tokens.tolist() for row in batch.rows] for batch in plan_batches(given_, TREES, 2048)]

    assert shape(sequences) == shape(sequences[::-1])


@pytest.mark.parametrize("wanted", [0, 3, 99])
def test_checks_are_drawn_from_all_sequences(wanted):
    batches = plan_batches(posts(), TREES, 2048, wanted)
    assert sum(len(batch.checked) for batch in batches) == min(wanted, 24)
    assert all(k < len(batch.rows[place].members) for batch in batches for place, k in batch.checked)


@given(sequences_lists.filter(bool))
def test_halves_keep_the_places_down_to_single_sequences(sequences):
    waiting, places = list(plan_batches(sequences, TREES, 64)), []
    expected = [place for batch in waiting for place in batch.places]
    while waiting:
        batch = waiting.pop(0)
        halves = batch.halves()
        if halves is None:
            places += batch.places
        else:
            waiting[:0] = halves
    assert places == expected
