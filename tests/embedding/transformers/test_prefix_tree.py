"""A prefix tree contains each sequence whole, shares every common prefix, and masks all but a token's ancestors."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lorerm.embedding.transformers.prefix_tree import tree_of, tree_size

some_sequences = st.lists(
    st.lists(st.integers(0, 2), min_size=1, max_size=6).map(tuple), min_size=1, max_size=8, unique=True
)


def tree(sequences):
    return tree_of(sequences, [(index,) for index in range(len(sequences))])


@given(some_sequences)
def test_each_sequence_is_recovered(sequences):
    row = tree(sequences)
    assert {indices[0]: row.sequence(i) for i, indices in enumerate(row.members)} == dict(enumerate(sequences))


@given(some_sequences)
def test_has_one_token_per_distinct_prefix(sequences):
    prefixes = {sequence[:length] for sequence in sequences for length in range(1, len(sequence) + 1)}
    assert len(tree(sequences)) == tree_size(sequences + sequences) == len(prefixes)


@given(some_sequences)
def test_last_token_attends_to_exactly_its_sequence_in_order(sequences):
    row = tree(sequences)
    for i, end in enumerate(row.ends):
        attended = np.flatnonzero(row.visible()[end])
        assert tuple(row.tokens[attended]) == row.sequence(i)
        assert list(row.depth[attended]) == list(range(len(attended)))


def test_no_sequences():
    assert tree_size([]) == 0
