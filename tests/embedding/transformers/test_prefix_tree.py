"""A prefix tree contains each sequence whole, shares every common prefix, and masks all but a token's ancestors."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lorerm.embedding.transformers.prefix_tree import TreeRow

trees = st.lists(
    st.lists(st.integers(0, 2), min_size=1, max_size=6).map(tuple), min_size=1, max_size=8, unique=True
).map(lambda sequences: TreeRow(tuple(sorted(sequences)), tuple((index,) for index in range(len(sequences)))))


@given(trees)
def test_has_one_token_per_distinct_prefix(tree):
    prefixes = {sequence[:length] for sequence in tree.sequences for length in range(1, len(sequence) + 1)}
    assert len(tree) == len(tree.tokens) == len(tree.depth) == len(prefixes)


@given(trees)
def test_last_token_attends_to_exactly_its_sequence_in_order(tree):
    for sequence, end in zip(tree.sequences, tree.ends, strict=True):
        attended = np.flatnonzero(tree.visible()[end])
        assert tuple(tree.tokens[attended]) == sequence
        assert list(tree.depth[attended]) == list(range(len(attended)))


@given(trees)
def test_each_token_attends_to_itself_and_what_its_parent_attends_to(tree):
    mask = tree.visible()
    for token, depth in enumerate(tree.depth):
        before = np.flatnonzero(mask[token])[:-1]
        assert np.flatnonzero(mask[token])[-1] == token
        assert len(before) == depth
        assert depth == 0 or list(np.flatnonzero(mask[before[-1]])) == list(before)
