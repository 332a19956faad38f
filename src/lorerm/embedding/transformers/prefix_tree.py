"""Prefix trees of token sequences: a beginning that several sequences share is computed once.

A tree is laid out depth first as one row of tokens. A token's position is its depth, and it attends to its ancestors
and itself. That is exactly what it would attend to if its sequence ran alone, so that one forward call gives each
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
    """The prefix tree of S different sequences, as one row of T tokens."""

    sequences: tuple[TokenIds, ...]
    """in ascending order, so that neighbours share most"""
    members: tuple[tuple[int, ...], ...]
    """indices of the conversations that have each sequence; several where token ids are equal"""

    @cached_property
    def shared(self) -> tuple[int, ...]:
        """Length S: the number of tokens that each sequence shares with the one before it; the others are its own."""
        return (0, *(n_shared(first, second) for first, second in pairwise(self.sequences)))

    def __len__(self) -> int:
        """Return T."""
        return sum(map(len, self.sequences)) - sum(self.shared)

    @property
    def tokens(self) -> Ints:
        """Token ids, int64 [T]: the own tokens of each sequence."""
        return np.concatenate([np.array(sequence[n:], dtype=np.int64) for sequence, n in self._with_shared()])

    @property
    def depth(self) -> Ints:
        """Position of each token in its sequences, int64 [T], from 0."""
        return np.concatenate([np.arange(n, len(sequence), dtype=np.int64) for sequence, n in self._with_shared()])

    @property
    def ends(self) -> list[int]:
        """Index of the last token of each sequence."""
        ends: list[int] = (np.cumsum([len(sequence) - n for sequence, n in self._with_shared()]) - 1).tolist()
        return ends

    def visible(self) -> Bools:
        """Return the attention mask, bool [T, T]: whether the token of a row attends to the token of a column."""
        mask = np.zeros((len(self), len(self)), dtype=np.bool_)
        path: Ints = np.empty(0, dtype=np.int64)  # indices of a sequence's tokens in the row
        for (sequence, n), end in zip(self._with_shared(), self.ends, strict=True):
            own = np.arange(end + 1 - len(sequence) + n, end + 1)
            path = np.concatenate([path[:n], own])
            mask[np.ix_(own, path)] = np.tri(len(own), len(path), n, dtype=np.bool_)
        return mask

    def _with_shared(self) -> Iterator[tuple[TokenIds, int]]:
        return zip(self.sequences, self.shared, strict=True)
