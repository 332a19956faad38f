"""Batches contain each conversation once, share prefixes where that saves work, and keep to the maximum of tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorerm.embedding.transformers.batching import Sharing, plan_batches

TREES = Sharing(unshared_reason=None, break_even=1024)
NO_TREES = Sharing(unshared_reason="none", break_even=1024)
sequences_lists = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9).map(tuple), max_size=12)


def posts(n_posts=4, n_responses=6, prompt=350, response=35):
    """Token sequences as long as posts and summaries in TLDR."""
    return [
        tuple(range(1000 * post, 1000 * post + prompt)) + tuple(range(90_000 + 100 * k, 90_000 + 100 * k + response))
        for post in range(n_posts)
        for k in range(n_responses)
    ]


def prefixes(sequences):
    """Every prefix of every sequence: the distinct ones are the nodes of their prefix tree."""
    return [sequence[:length] for sequence in sequences for length in range(1, len(sequence) + 1)]


def n_tokens(batches):
    return sum(batch.n_tokens for batch in batches)


@given(sequences_lists, st.sampled_from([TREES, NO_TREES]), st.integers(1, 30))
def test_each_index_is_in_one_batch_with_its_own_sequence(sequences, sharing, budget):
    batches = plan_batches(sequences, sharing, budget)
    assert sorted(index for batch in batches for index in batch.indices) == list(range(len(sequences)))
    for batch in batches:
        assert batch.n_tokens <= budget or (len(batch.rows) == 1 and len(batch.rows[0].members) == 1)
        for row in batch.rows:
            for i, indices in enumerate(row.members):
                assert {sequences[index] for index in indices} == {row.sequences[i]}


def test_shared_prefixes_and_duplicates_run_about_once():
    sequences = posts()
    assert n_tokens(plan_batches(sequences * 2, TREES, 2048)) <= 1.1 * len(set(prefixes(sequences)))
    assert n_tokens(plan_batches(sequences, NO_TREES, 2048)) == sum(map(len, sequences))


def test_sharing_that_costs_more_than_it_saves_is_not_done():
    """A short prompt with long responses: in a tree, each token would attend over all responses, masked."""
    batches = plan_batches(posts(n_posts=1, prompt=10, response=2000), TREES, 100_000)
    assert all(len(row.members) == 1 for batch in batches for row in batch.rows)


def test_maximum_lengths_of_the_model_are_kept():
    sharing = Sharing(None, 1024, longest_in_tree=380, longest_in_batch=380)
    batches = plan_batches(posts(response=35) + posts(response=20), sharing, 4096)
    for batch in batches:
        assert batch.length <= 380 or all(len(row.members) == 1 for row in batch.rows)
        assert max(row.depth.max() + 1 for row in batch.rows) <= 380 or len(batch.rows) == 1


def test_batches_do_not_depend_on_the_order_of_the_input():
    sequences = posts()

    def tokens(given_):
        return [[row.tokens.tolist() for row in batch.rows] for batch in plan_batches(given_, TREES, 2048)]

    assert tokens(sequences) == tokens(sequences[::-1])


@pytest.mark.parametrize("wanted", [0, 3, 99])
def test_checked_sequences_are_drawn_from_all(wanted):
    batches = plan_batches(posts(), TREES, 2048, wanted)
    assert sum(len(batch.checked) for batch in batches) == min(wanted, 24)
    assert all(i < len(batch.rows[row].members) for batch in batches for row, i in batch.checked)


@given(sequences_lists.filter(bool))
def test_halving_down_to_single_sequences_keeps_the_indices(sequences):
    waiting, indices = list(plan_batches(sequences, TREES, 64)), []
    expected = [index for batch in waiting for index in batch.indices]
    while waiting:
        batch = waiting.pop(0)
        halves = batch.halves()
        if halves is None:
            indices += batch.indices
        else:
            waiting[:0] = halves
    assert indices == expected
