"""What runs together: sequences of token ids to prefix trees, prefix trees to batches.

A plan depends on the conversations alone, not on their order or on what ran before, so that an interrupted run can go
on between two batches and end with the same bytes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from lorerm.embedding.transformers.prefix_tree import GrowingTree, TreeRow, tree_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lorerm.embedding.transformers.prefix_tree import TokenIds

# Of the tokens that a batch runs, the share that may be padding.
_PADDING = 0.05


@dataclass(frozen=True)
class Sharing:
    """How far sequences may run together without a change of their numbers."""

    trees: bool
    """Whether a prefix tree may run as one row; otherwise every sequence is a row of its own."""
    break_even: int
    """How many keys a token may look at until that costs as much as the rest of the model does."""
    longest_in_tree: int | None = None
    """The longest sequence that may run in a tree; None is any."""
    longest_in_batch: int | None = None
    """The longest sequence that may run beside others; None is any."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows that run in one forward call, and the places (at most the plan's n) whose embeddings they give."""

    rows: tuple[TreeRow, ...]
    checked: tuple[tuple[int, int], ...] = ()
    """Sequences, by row and number in it, to run alone as well: their embeddings must come out the same."""

    @property
    def places(self) -> list[int]:
        """Return the places of the conversations, in the order in which the embeddings come."""
        return [place for row in self.rows for places in row.members for place in places]

    @property
    def length(self) -> int:
        """Return the tokens of the longest row."""
        return max(map(len, self.rows))

    @property
    def n_tokens(self) -> int:
        """Return the tokens that the model runs, padding included."""
        return self.length * len(self.rows)

    def halves(self) -> tuple[Batch, Batch] | None:
        """Return two smaller batches with the same places in the same order; None for a single sequence."""
        if len(self.rows) > 1:
            middle = len(self.rows) // 2
            return Batch(self.rows[:middle]), Batch(self.rows[middle:])
        (row,) = self.rows
        if len(row.members) == 1:
            return None
        sequences, middle = [row.sequence(number) for number in range(len(row.members))], len(row.members) // 2
        return (
            Batch((tree_of(sequences[:middle], row.members[:middle]),)),
            Batch((tree_of(sequences[middle:], row.members[middle:]),)),
        )


def plan_batches(
    sequences: Sequence[TokenIds], sharing: Sharing, batch_tokens: int, n_checked: int = 0
) -> tuple[Batch, ...]:
    """Plan how to run sequences of token ids, equal ones once.

    Parameters
    ----------
    sequences
        n sequences, each of at least one token.
    sharing
        What the model allows.
    batch_tokens
        The most tokens of a batch, padding included; a longer sequence runs alone.
    n_checked
        How many sequences, drawn at random from those that run beside others, to mark for a check; which ones depends
        on the sequences alone.

    Returns
    -------
    tuple of Batch
        The largest first, as what does not fit into memory should fail at once. Every place stands in one batch.
    """
    copies: dict[TokenIds, list[int]] = {}
    for place, sequence in enumerate(sequences):
        copies.setdefault(sequence, []).append(place)
    members = {sequence: tuple(places) for sequence, places in sorted(copies.items())}
    trees, alone = _grow(members, sharing, batch_tokens)
    batches = [*_pack(trees, batch_tokens), *_pack(alone, batch_tokens, sharing.longest_in_batch)]
    batches.sort(key=lambda batch: -batch.n_tokens)
    return _mark(batches, members, n_checked)


def _grow(
    members: Mapping[TokenIds, tuple[int, ...]], sharing: Sharing, batch_tokens: int
) -> tuple[list[TreeRow], list[TreeRow]]:
    """Return trees of several sequences, and single sequences.

    A row of T tokens costs T (break_even + T), as every token of it looks at all T, those that it does not see
    included. A sequence joins the row where that is no dearer than a row of its own.
    """

    def cost(size: int) -> int:
        return size * (sharing.break_even + size)

    rows: list[TreeRow] = []
    tree = GrowingTree()
    for sequence, places in members.items():
        tokens = np.array(sequence, dtype=np.int64)
        grown = tree.size + len(tokens) - tree.shared(tokens)
        longest = max(tree.longest, len(tokens))
        fits = sharing.trees and grown <= batch_tokens and longest <= (sharing.longest_in_tree or longest)
        if tree.size and not (fits and cost(grown) <= cost(tree.size) + cost(len(tokens))):
            rows.append(tree.row())
            tree = GrowingTree()
        tree.add(tokens, places)
    if tree.size:
        rows.append(tree.row())
    return [row for row in rows if len(row.members) > 1], [row for row in rows if len(row.members) == 1]


def _pack(rows: list[TreeRow], batch_tokens: int, longest: int | None = None) -> list[Batch]:
    """Put rows of like length into batches; those beyond `longest` run alone."""
    batches: list[list[TreeRow]] = []
    used = 0  # tokens of the last batch that are no padding
    for row in sorted(rows, key=len, reverse=True):
        if batches:
            tokens = len(batches[-1][0]) * (len(batches[-1]) + 1)
            alone = longest is not None and len(batches[-1][0]) > longest
            if tokens <= batch_tokens and used + len(row) >= (1 - _PADDING) * tokens and not alone:
                batches[-1].append(row)
                used += len(row)
                continue
        batches.append([row])
        used = len(row)
    return [Batch(tuple(batch)) for batch in batches]


def _mark(batches: list[Batch], members: Mapping[TokenIds, tuple[int, ...]], n_checked: int) -> tuple[Batch, ...]:
    """Draw the sequences to check, of those that run beside others, from a generator that all sequences seed."""
    together = [
        (batch, place, number)
        for batch in batches
        if sum(len(row.members) for row in batch.rows) > 1
        for place, row in enumerate(batch.rows)
        for number in range(len(row.members))
    ]
    seed = hashlib.sha256(repr(list(members)).encode()).digest() if n_checked else b""
    drawn = Random(seed).sample(together, min(n_checked, len(together)))  # noqa: S311 - no secret
    checked: dict[Batch, list[tuple[int, int]]] = {}
    for batch, place, number in drawn:
        checked.setdefault(batch, []).append((place, number))
    return tuple(Batch(batch.rows, tuple(sorted(checked.get(batch, [])))) for batch in batches)
