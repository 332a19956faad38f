"""Preferences as vectors: one row per distinct response, and comparisons that point at rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from lorerm.arrays import as_column, as_indices
from lorerm.embedding.matrices import as_matrix, as_reference, check_finite
from lorerm.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from lorerm.arrays import Column, Vector
    from lorerm.embedding.encoder import EncoderIdentity
    from lorerm.embedding.matrices import Matrix

# Users looked at together when they are numbered: bounds the memory of the hash table's input.
_NUMBERED_ROWS = 1 << 20


@dataclass(frozen=True, eq=False)
class EmbeddedPreferences:
    """Comparisons between rows of a matrix of response embeddings.

    Make one with `from_arrays`, `lorerm.embed` or `load`; they check what stands here.

    Parameters
    ----------
    responses
        Float [R, D], torch or NumPy, any float dtype: the embedding of each distinct conversation (prompt and
        response); or a `StoredMatrix`, whose rows stay on disk.
    chosen, rejected
        Int [n]: rows of `responses`.
    user_ids
        Length n: who chose.
    prompt_ids
        Length n: what train and test must not share.
    weights
        Float64 [n]: how much each comparison counts within its user (1 unless one judgement became several pairs).
    splits
        Length n: the cell that each comparison was assigned to, or None when none was.
    encoder
        What made the embeddings, or None when they were given as arrays.
    reference
        Float32 [D]: the encoder's own reward head, or None.
    """

    responses: Matrix
    chosen: Vector
    rejected: Vector
    user_ids: Column
    prompt_ids: Column
    weights: np.ndarray[Any, np.dtype[np.float64]]
    splits: Column | None = None
    encoder: EncoderIdentity | None = None
    reference: np.ndarray[Any, np.dtype[np.float32]] | None = None

    @classmethod
    def from_arrays(
        cls,
        responses: Matrix,
        chosen: Vector,
        rejected: Vector,
        user_ids: Column,
        prompt_ids: Column | None = None,
        weights: Column | None = None,
        *,
        splits: Column | None = None,
        encoder: EncoderIdentity | None = None,
        reference: Matrix | None = None,
    ) -> EmbeddedPreferences:
        """Check arrays and put them together; see the class for shapes.

        NumPy arrays and torch tensors are kept as they are; pandas' and Arrow's come to NumPy, without a copy where
        their layout allows it.

        Without `prompt_ids` the unit that train and test must not share is the unordered pair of responses.

        Raises
        ------
        DataError
            If lengths differ, rows are out of range, a response is compared with itself, or a value is NaN or infinite;
            the message names the argument and the first bad place.
        """
        responses = as_matrix(responses)
        chosen, rejected, user_ids = as_column(chosen), as_column(rejected), as_column(user_ids)
        prompt_ids, weights, splits = as_column(prompt_ids), as_column(weights), as_column(splits)
        if len(responses.shape) != 2 or 0 in responses.shape:
            raise DataError(
                f"responses has shape {tuple(responses.shape)}", "give a non-empty matrix [responses, dimension]"
            )
        check_finite(responses)
        chosen_rows, rejected_rows = _rows(chosen, "chosen"), _rows(rejected, "rejected")
        n = len(chosen_rows)
        if n == 0:
            raise DataError("there are no comparisons", "give at least one pair of chosen and rejected rows")
        columns = {
            "rejected": rejected_rows,
            "user_ids": user_ids,
            "prompt_ids": prompt_ids,
            "weights": weights,
            "splits": splits,
        }
        for name, column in columns.items():
            if column is not None and len(column) != n:
                raise DataError(f"{name} has {len(column)} entries, chosen has {n}", "give one entry per comparison")
        for name, rows in (("chosen", chosen_rows), ("rejected", rejected_rows)):
            outside = np.flatnonzero((rows < 0) | (rows >= len(responses)))
            if outside.size:
                raise DataError(
                    f"{name}[{outside[0]}] is row {rows[outside[0]]}, but responses has rows 0 to {len(responses) - 1}",
                    "make the comparisons point at rows of this matrix",
                )
        same = np.flatnonzero(chosen_rows == rejected_rows)
        if same.size:
            raise DataError(
                f"comparison {same[0]} has row {chosen_rows[same[0]]} as both chosen and rejected",
                "drop comparisons of a response with itself",
            )
        if prompt_ids is None:
            prompt_ids = _UnorderedPairs(chosen_rows, rejected_rows)
        # One number seen n times takes no memory.
        weight = np.broadcast_to(np.float64(1), n) if weights is None else np.asarray(weights, dtype=np.float64)
        unusable = np.flatnonzero(~(np.isfinite(weight) & (weight > 0)))
        if unusable.size:
            raise DataError(f"weights[{unusable[0]}] is {weight[unusable[0]]}", "give positive, finite weights")
        return cls(
            responses=responses,
            chosen=chosen,
            rejected=rejected,
            user_ids=user_ids,
            prompt_ids=prompt_ids,
            weights=weight,
            splits=splits,
            encoder=encoder,
            reference=None if reference is None else as_reference(reference, responses.shape[1]),
        )

    @classmethod
    def load(cls, run: str | Path) -> EmbeddedPreferences:
        """Read the comparisons and embeddings of a run folder.

        Raises
        ------
        RunError
            If the folder holds no finished embeddings, or those of another version.
        """
        from lorerm.embedding.store import load_embedded

        return load_embedded(run)

    def __repr__(self) -> str:
        """Return the sizes alone: who chose what is not for a log."""
        responses, dimension = self.responses.shape
        return f"{type(self).__name__}(comparisons={len(self)}, responses={responses}, dimension={dimension})"

    def __len__(self) -> int:
        """Return the number of comparisons."""
        return len(self.chosen)

    @property
    def dimension(self) -> int:
        """The embedding's length D."""
        return int(self.responses.shape[1])

    @property
    def shape(self) -> tuple[int]:
        """The number of comparisons, as scikit-learn asks for it."""
        return (len(self),)

    def __getitem__(self, indices: Any) -> EmbeddedPreferences:  # noqa: ANN401 - as an array is indexed
        """Select as `select` does, so that scikit-learn's splitters take these for an array."""
        if isinstance(indices, tuple) and len(indices) == 2 and indices[1] is Ellipsis:  # how scikit-learn writes it
            indices = indices[0]
        return self.select(indices)

    def select(self, indices: Any) -> EmbeddedPreferences:  # noqa: ANN401 - as an array is indexed
        """Keep the comparisons at `indices`, in that order; the matrix of responses is shared, not copied.

        Parameters
        ----------
        indices
            Places (int [m], also one alone, or a slice) or a mask (bool [n]): NumPy, torch, pandas, Arrow or a list.
        """
        indices = as_indices(indices, len(self))

        def take(column: Column) -> Column:
            if isinstance(column, _UnorderedPairs):
                return column.select(indices)
            # Objects stay what they are: NumPy would make a matrix of tuples, and strings of mixed ids.
            known = column if isinstance(column, np.ndarray) else np.fromiter(column, dtype=object, count=len(column))
            taken: Column = known[indices]
            return taken

        return replace(
            self,
            chosen=_rows(self.chosen, "chosen")[indices],
            rejected=_rows(self.rejected, "rejected")[indices],
            user_ids=take(self.user_ids),
            prompt_ids=take(self.prompt_ids),
            weights=self.weights[indices],
            splits=None if self.splits is None else take(self.splits),
        )

    def rows(self) -> tuple[np.ndarray[Any, np.dtype[np.int64]], np.ndarray[Any, np.dtype[np.int64]]]:
        """Return the chosen and the rejected rows as int64 [n] each."""
        return _rows(self.chosen, "chosen"), _rows(self.rejected, "rejected")

    def index_users(self) -> tuple[tuple[str, ...], np.ndarray[Any, np.dtype[np.int64]]]:
        """Return the users in order of first appearance, and each comparison's place in that order (int64 [n])."""
        import pyarrow as pa  # its hash table takes a fraction of the memory and time of sorting

        place: dict[str, int] = {}
        users = np.empty(len(self), dtype=np.int64)
        for start in range(0, len(self), _NUMBERED_ROWS):
            some = self.user_ids[start : start + _NUMBERED_ROWS]
            encoded = pa.array([str(user) for user in some], pa.string()).dictionary_encode()
            known = [place.setdefault(user, len(place)) for user in encoded.dictionary.to_pylist()]
            users[start : start + len(some)] = np.array(known, dtype=np.int64)[encoded.indices.to_numpy()]
        return tuple(place), users


class _UnorderedPairs(Sequence[str]):
    """Names of the pairs of responses whichever was chosen, made when they are asked for: "3_7" for rows 7 and 3."""

    def __init__(self, one: np.ndarray[Any, np.dtype[np.int64]], other: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        self._one, self._other = one, other

    def __len__(self) -> int:
        return len(self._one)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> _UnorderedPairs: ...
    def __getitem__(self, index: int | slice) -> str | _UnorderedPairs:
        if isinstance(index, slice):
            return _UnorderedPairs(self._one[index], self._other[index])
        low, high = sorted((int(self._one[index]), int(self._other[index])))
        return f"{low}_{high}"

    def select(self, indices: np.ndarray[Any, np.dtype[np.int64]]) -> _UnorderedPairs:
        """Return the names at `indices`."""
        return _UnorderedPairs(self._one[indices], self._other[indices])


def _rows(column: Vector, name: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    rows = np.asarray(column)
    if rows.ndim != 1 or (rows.size and not np.issubdtype(rows.dtype, np.integer)):
        raise DataError(
            f"{name} has dtype {rows.dtype} and shape {rows.shape}", "give a vector of whole numbers: rows of responses"
        )
    return rows.astype(np.int64, copy=False)
