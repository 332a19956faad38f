"""A prefix tree holds every sequence whole, shares what can be shared, and shows each token its own past alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lorerm.embedding.transformers.prefix_tree import tree_of, tree_size

some_sequences = st.lists(
    st.lists(st.integers(0, 2), min_size=1, max_size=6).map(tuple), min_size=1, max_size=8, unique=True
)


def tree(sequences):
    return tree_of(sequences, [(place,) for place in range(len(sequences))])


@given(some_sequences)
def test_gives_every_sequence_back(sequences):
    row = tree(sequences)
    assert {places[0]: row.sequence(number) for number, places in enumerate(row.members)} == dict(enumerate(sequences))


@given(some_sequences)
def test_has_one_token_per_different_beginning(sequences):
    beginnings = {sequence[:length] for sequence in sequences for length in range(1, len(sequence) + 1)}
    assert len(tree(sequences)) == tree_size(sequences + sequences) == len(beginnings)


@given(some_sequences)
def test_last_token_sees_its_sequence_in_order_and_nothing_else(sequences):
    row = tree(sequences)
    for number, end in enumerate(row.ends):
        seen = np.flatnonzero(row.visible()[end])
        assert tuple(row.tokens[seen]) == row.sequence(number)
        assert list(row.depth[seen]) == list(range(len(seen)))


def test_no_sequences():
    assert tree_size([]) == 0
