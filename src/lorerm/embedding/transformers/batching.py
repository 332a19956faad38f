"""Plan batches of token sequences: group sequences into prefix trees, and prefix trees into batches.

A plan depends on the set of sequences only, not on their order or on earlier calls. So an interrupted run can continue
after any batch, and equal input gives identical bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from lorerm.embedding.transformers.prefix_tree import TokenIds, TreeRow, n_shared

# Maximum share of padding among a batch's tokens. It can be low: nearly every row has others of similar length.
_MAX_PADDING = 0.05


@dataclass(frozen=True)
class Sharing:
    """The limits within which a model can run sequences together without changing their embeddings."""

    unshared_reason: str | None
    """The reason why every sequence must run as its own row, as a clause; None if a prefix tree can run as one row."""
    break_even: int
    """The number of attended keys at which attention costs as much as the rest of a layer, per token."""
    longest_in_tree: int | None = None
    """The maximum length of a sequence in a tree with others; None: no limit."""
    longest_in_batch: int | None = None
    """The maximum length of a sequence in a batch with others; None: no limit."""


@dataclass(frozen=True, eq=False)
class TokenBatch:
    """Rows of token ids that run in one forward call."""

    rows: tuple[TreeRow, ...]
    checked: tuple[tuple[int, int], ...] = ()
    """Sequences that are also embedded alone, as a check: (index of the row, index of the sequence in the row)."""

    @property
    def members(self) -> list[tuple[int, ...]]:
        """For each sequence, row by row: the indices of the conversations with these token ids."""
        return [indices for row in self.rows for indices in row.members]

    @property
    def indices(self) -> list[int]:
        """Indices of the conversations, in the order of the computed embeddings."""
        return [index for indices in self.members for index in indices]

    @property
    def length(self) -> int:
        """The number of tokens in the longest row."""
        return max(map(len, self.rows))

    @property
    def n_tokens(self) -> int:
        """The number of tokens that the model processes, including padding."""
        return self.length * len(self.rows)

    def halves(self) -> tuple[TokenBatch, TokenBatch] | None:
        """Split the batch into two, without changing the order. Return None if it has only one sequence."""
        if len(self.rows) > 1:
            middle = len(self.rows) // 2
            return TokenBatch(self.rows[:middle]), TokenBatch(self.rows[middle:])
        (row,) = self.rows
        middle = len(row.members) // 2
        if middle == 0:
            return None
        first = TreeRow(row.sequences[:middle], row.members[:middle])
        second = TreeRow(row.sequences[middle:], row.members[middle:])
        return TokenBatch((first,)), TokenBatch((second,))


def plan_batches(
    sequences: Sequence[TokenIds], sharing: Sharing, batch_tokens: int, n_checked: int = 0
) -> tuple[TokenBatch, ...]:
    """Divide n token sequences into batches; equal sequences run once.

    - A batch has at most `batch_tokens` tokens, including padding. A longer sequence runs alone.
    - `n_checked` sequences are marked for a check. They are drawn at random from the sequences that do not run alone;
      the draw depends on the sequences only.
    - The largest batch comes first, so that a batch that is too large for the memory fails at once.
    """
    copies: dict[TokenIds, list[int]] = {}
    for index, sequence in enumerate(sequences):
        copies.setdefault(sequence, []).append(index)
    members = {sequence: tuple(indices) for sequence, indices in sorted(copies.items())}
    rows = _grow_trees(members, sharing, batch_tokens)
    trees, single = ([row for row in rows if (len(row.members) > 1) == several] for several in (True, False))
    batches = [*_pack(trees, batch_tokens), *_pack(single, batch_tokens, sharing.longest_in_batch)]
    batches.sort(key=lambda batch: -batch.n_tokens)
    return _mark_checked(batches, members, n_checked)


def _grow_trees(members: Mapping[TokenIds, tuple[int, ...]], sharing: Sharing, batch_tokens: int) -> list[TreeRow]:
    """Divide sequences in ascending order into rows.

    A row of T tokens costs T (break_even + T), because each token attends over all T tokens, even masked ones. A
    sequence joins the previous row if that costs no more than a row of its own.
    """

    def cost(size: int) -> int:
        return size * (sharing.break_even + size)

    rows: list[list[TokenIds]] = []
    size = longest = 0  # of the last row
    for sequence in members:
        if rows:
            grown = size + len(sequence) - n_shared(rows[-1][-1], sequence)
            longest = max(longest, len(sequence))
            fits = grown <= batch_tokens and longest <= (sharing.longest_in_tree or longest)
            if sharing.unshared_reason is None and fits and cost(grown) <= cost(size) + cost(len(sequence)):
                rows[-1].append(sequence)
                size = grown
                continue
        rows.append([sequence])
        size = longest = len(sequence)
    return [TreeRow(tuple(row), tuple(members[sequence] for sequence in row)) for row in rows]


def _pack(rows: list[TreeRow], batch_tokens: int, longest: int | None = None) -> list[TokenBatch]:
    """Group rows of similar length into batches; a row longer than `longest` runs alone."""
    batches: list[list[TreeRow]] = []
    used = 0  # tokens of the last batch that are not padding
    for row in sorted(rows, key=len, reverse=True):
        if batches:
            tokens = len(batches[-1][0]) * (len(batches[-1]) + 1)  # the first row of a batch is its longest
            alone = longest is not None and len(batches[-1][0]) > longest
            if tokens <= batch_tokens and used + len(row) >= (1 - _MAX_PADDING) * tokens and not alone:
                batches[-1].append(row)
                used += len(row)
                continue
        batches.append([row])
        used = len(row)
    return [TokenBatch(tuple(batch)) for batch in batches]


def _mark_checked(
    batches: list[TokenBatch], members: Mapping[TokenIds, tuple[int, ...]], n_checked: int
) -> tuple[TokenBatch, ...]:
    """Mark `n_checked` random sequences that do not run alone; the seed is a hash of all sequences."""
    candidates = [
        (batch, row_index, sequence_index)
        for batch in batches
        if len(batch.members) > 1
        for row_index, row in enumerate(batch.rows)
        for sequence_index in range(len(row.members))
    ]
    seed = hashlib.sha256(repr(list(members)).encode()).digest() if n_checked else b""
    drawn = Random(seed).sample(candidates, min(n_checked, len(candidates)))  # noqa: S311 - no secret
    checked: dict[TokenBatch, list[tuple[int, int]]] = {}
    for batch, row_index, sequence_index in drawn:
        checked.setdefault(batch, []).append((row_index, sequence_index))
    return tuple(TokenBatch(batch.rows, tuple(sorted(checked.get(batch, [])))) for batch in batches)
