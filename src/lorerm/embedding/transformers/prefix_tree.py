"""Prefix trees of token ids: what several sequences begin with in common stands, and is computed, once.

A tree is laid out as one row of tokens, depth first. A token's position is its depth, and it sees its ancestors and
itself: exactly what it would see if its sequence ran alone, so that one forward call gives every sequence's own states.
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
    """The prefix tree of some sequences, as one row of T tokens.

    Parameters
    ----------
    tokens
        Int64 [T], each sequence's own part after what it shares with the sequences before it.
    depth
        Int64 [T]: each token's position in its sequences, from 0.
    segments
        The own part of each of the S sequences, as (first token, token after the last, parent of the first; -1 is the
        root).
    members
        Length S: the places of the conversations that have this sequence; several where token ids are equal.
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
        """Return where the last token of each sequence stands."""
        return [stop - 1 for _, stop, _ in self.segments]

    def visible(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return bool [T, T]: whether the token of a row sees the token of a column."""
        sees = np.zeros((len(self), len(self)), dtype=np.bool_)
        for start, stop, parent in self.segments:
            if parent != _ROOT:
                sees[start:stop] = sees[parent]
            sees[start:stop, start:stop] = np.tri(stop - start, dtype=np.bool_)
        return sees

    def sequence(self, number: int) -> TokenIds:
        """Give one of the S sequences back."""
        starts = [start for start, _, _ in self.segments]
        token, parts = self.segments[number][1] - 1, []
        while token != _ROOT:
            start, _, parent = self.segments[bisect_right(starts, token) - 1]
            parts.append(self.tokens[start : token + 1])
            token = parent
        return tuple(np.concatenate(parts[::-1]).tolist())


class GrowingTree:
    """A tree that different sequences are added to in ascending order, so that neighbours share most."""

    def __init__(self) -> None:
        self._parts: list[Ints] = []
        self._depths: list[Ints] = []
        self._segments: list[tuple[int, int, int]] = []
        self._members: list[tuple[int, ...]] = []
        self._last: Ints = np.empty(0, dtype=np.int64)  # the last sequence added
        self._path: Ints = self._last  # where its tokens stand
        self.size = 0
        self.longest = 0

    def shared(self, sequence: Ints) -> int:
        """Return how many tokens a sequence has in common with the last one."""
        n = min(len(sequence), len(self._last))
        differs = np.flatnonzero(sequence[:n] != self._last[:n])
        return int(differs[0]) if differs.size else n

    def add(self, sequence: Ints, members: tuple[int, ...]) -> None:
        """Add the next sequence, and the places of the conversations that have it."""
        common = self.shared(sequence)
        start, stop = self.size, self.size + len(sequence) - common
        self._segments.append((start, stop, int(self._path[common - 1]) if common else _ROOT))
        self._parts.append(sequence[common:])
        self._depths.append(np.arange(common, len(sequence), dtype=np.int64))
        self._members.append(members)
        self._path = np.concatenate([self._path[:common], np.arange(start, stop, dtype=np.int64)])
        self._last, self.size, self.longest = sequence, stop, max(self.longest, len(sequence))

    def row(self) -> TreeRow:
        """Return the tree as it is."""
        return TreeRow(
            np.concatenate(self._parts), np.concatenate(self._depths), tuple(self._segments), tuple(self._members)
        )


def tree_of(sequences: Sequence[TokenIds], members: Sequence[tuple[int, ...]]) -> TreeRow:
    """Return the tree of some different sequences, at least one."""
    tree = GrowingTree()
    for sequence, places in sorted(zip(sequences, members, strict=True)):
        tree.add(np.array(sequence, dtype=np.int64), places)
    return tree.row()


def tree_size(sequences: Sequence[TokenIds]) -> int:
    """Return the number of nodes of the prefix tree of all sequences: the fewest tokens that a model could run."""
    distinct = sorted(set(sequences))
    return len(tree_of(distinct, [()] * len(distinct))) if distinct else 0
