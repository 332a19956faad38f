"""Prefix trees of token sequences: a beginning that several sequences share is computed once.

A tree is laid out depth first as one row of tokens. A token's position is its depth, and it attends to its ancestors
and itself. That is exactly what it would attend to if its sequence ran alone, so that one forward call gives each
sequence the hidden states it would have alone.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    Ints = np.ndarray[Any, np.dtype[np.int64]]
    TokenIds = tuple[int, ...]

_ROOT = -1


@dataclass(frozen=True, eq=False)
class TreeRow:
    """The prefix tree of S different sequences, as one row of T tokens.

    Parameters
    ----------
    tokens
        Int64 [T]: of each sequence, the tokens after the prefix that it shares with the sequences before it.
    depth
        Int64 [T]: each token's position in its sequences, from 0.
    segments
        Length S: the own tokens of each sequence, as (index of the first, index after the last, index of the first's
        parent; -1 is the root).
    members
        Length S: the indices of the conversations that have this sequence; several where token ids are equal.
    """

    tokens: Ints
    depth: Ints
    segments: tuple[tuple[int, int, int], ...]
    members: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        """Return T."""
        return len(self.tokens)

    @property
    def ends(self) -> list[int]:
        """Index of the last token of each sequence."""
        return [stop - 1 for _, stop, _ in self.segments]

    def visible(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return the attention mask, bool [T, T]: whether the token of a row attends to the token of a column."""
        mask = np.zeros((len(self), len(self)), dtype=np.bool_)
        for start, stop, parent in self.segments:
            if parent != _ROOT:
                mask[start:stop] = mask[parent]
            mask[start:stop, start:stop] = np.tri(stop - start, dtype=np.bool_)
        return mask

    def sequence(self, index: int) -> TokenIds:
        """Return one of the S sequences in full."""
        starts = [start for start, _, _ in self.segments]
        token, parts = self.segments[index][1] - 1, []
        while token != _ROOT:
            start, _, parent = self.segments[bisect_right(starts, token) - 1]
            parts.append(self.tokens[start : token + 1])
            token = parent
        return tuple(np.concatenate(parts[::-1]).tolist())


class GrowingTree:
    """A prefix tree under construction; sequences are added in ascending order, so that neighbours share most."""

    def __init__(self) -> None:
        self._parts: list[Ints] = []
        self._depths: list[Ints] = []
        self._segments: list[tuple[int, int, int]] = []
        self._members: list[tuple[int, ...]] = []
        self._last: Ints = np.empty(0, dtype=np.int64)  # the last sequence added
        self._path: Ints = self._last  # indices of its tokens in the row
        self.size = 0
        self.longest = 0

    def shared(self, sequence: Ints) -> int:
        """Return the length of the prefix that a sequence shares with the last one added."""
        n = min(len(sequence), len(self._last))
        differs = np.flatnonzero(sequence[:n] != self._last[:n])
        return int(differs[0]) if differs.size else n

    def add(self, sequence: Ints, members: tuple[int, ...]) -> None:
        """Add the next sequence, and the indices of the conversations that have it."""
        common = self.shared(sequence)
        start, stop = self.size, self.size + len(sequence) - common
        self._segments.append((start, stop, int(self._path[common - 1]) if common else _ROOT))
        self._parts.append(sequence[common:])
        self._depths.append(np.arange(common, len(sequence), dtype=np.int64))
        self._members.append(members)
        self._path = np.concatenate([self._path[:common], np.arange(start, stop, dtype=np.int64)])
        self._last, self.size, self.longest = sequence, stop, max(self.longest, len(sequence))

    def row(self) -> TreeRow:
        """Return the finished tree."""
        return TreeRow(
            np.concatenate(self._parts), np.concatenate(self._depths), tuple(self._segments), tuple(self._members)
        )


def tree_of(sequences: Sequence[TokenIds], members: Sequence[tuple[int, ...]]) -> TreeRow:
    """Return the prefix tree of at least one sequence, all different."""
    tree = GrowingTree()
    for sequence, indices in sorted(zip(sequences, members, strict=True)):
        tree.add(np.array(sequence, dtype=np.int64), indices)
    return tree.row()


def tree_size(sequences: Sequence[TokenIds]) -> int:
    """Return the number of nodes of the prefix tree of all sequences: the least number of tokens a model must run."""
    distinct = sorted(set(sequences))
    return len(tree_of(distinct, [()] * len(distinct))) if distinct else 0
