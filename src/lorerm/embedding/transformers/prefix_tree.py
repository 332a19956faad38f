"""Prefix trees of token sequences: a prefix that several sequences share is computed only once.

A tree is laid out depth first as one row of tokens. A token's position is its depth. A token attends to its ancestors
and itself: exactly the tokens it would attend to if its sequence ran alone. So one forward call computes for each
sequence the hidden states it would have alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from lorerm.arrays import Bools, Ints

TokenIds = tuple[int, ...]


def n_shared(first: TokenIds, second: TokenIds) -> int:
    """Return the length of the longest common prefix of two sequences."""
    n = min(len(first), len(second))
    differs = np.flatnonzero(np.array(first[:n]) != np.array(second[:n]))
    return int(differs[0]) if differs.size else n


@dataclass(frozen=True, eq=False)
class TreeRow:
    """The prefix tree of S distinct sequences, as one row of T tokens."""

    sequences: tuple[TokenIds, ...]
    """the sequences in ascending order, so that neighbours share the longest prefixes"""
    members: tuple[tuple[int, ...], ...]
    """for each sequence, the indices of the conversations with these token ids"""

    @cached_property
    def shared(self) -> tuple[int, ...]:
        """Length S: the number of tokens shared with the previous sequence; the tokens after them are "own" tokens."""
        return (0, *(n_shared(first, second) for first, second in pairwise(self.sequences)))

    def __len__(self) -> int:
        """Return T."""
        return sum(map(len, self.sequences)) - sum(self.shared)

    @property
    def tokens(self) -> Ints:
        """Token ids, int64 [T]: the concatenation of each sequence's own tokens."""
        return np.concatenate([np.array(sequence[n:], dtype=np.int64) for sequence, n in self._with_shared()])

    @property
    def depth(self) -> Ints:
        """Position of each token in its sequence, int64 [T], counted from 0."""
        return np.concatenate([np.arange(n, len(sequence), dtype=np.int64) for sequence, n in self._with_shared()])

    @property
    def ends(self) -> list[int]:
        """Length S: the index in the row of each sequence's last token."""
        ends: list[int] = (np.cumsum([len(sequence) - n for sequence, n in self._with_shared()]) - 1).tolist()
        return ends

    def visible(self) -> Bools:
        """Return the attention mask, bool [T, T]: entry (i, j) is True if token i attends to token j."""
        mask = np.zeros((len(self), len(self)), dtype=np.bool_)
        path: Ints = np.empty(0, dtype=np.int64)  # row indices of a sequence's tokens, from its first token
        for (sequence, n), end in zip(self._with_shared(), self.ends, strict=True):
            own = np.arange(end + 1 - len(sequence) + n, end + 1)
            path = np.concatenate([path[:n], own])
            # Own token k attends to the n tokens shared with the previous sequence, and to the own tokens 0 to k.
            mask[np.ix_(own, path)] = np.tri(len(own), len(path), n, dtype=np.bool_)
        return mask

    def _with_shared(self) -> Iterator[tuple[TokenIds, int]]:
        return zip(self.sequences, self.shared, strict=True)
