"""`Comparisons`: a table of comparisons, in which a response is the number of a row in another table or a matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from lorerm.arrays import as_column, as_indices
from lorerm.data.ids import as_id_column, as_ids, check_known, look_alike_warnings
from lorerm.data.schema import parse_split
from lorerm.data.weights import LARGEST_WEIGHT, SMALLEST_WEIGHT, weight_warnings
from lorerm.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Collection

    from lorerm.arrays import Column, Floats, Ints, Strings, Vector

    C = TypeVar("C", bound="Comparisons")

# Number of names that are indexed at a time. It limits memory.
_NUMBERED_ROWS = 1 << 20


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Comparisons:
    """A table of comparisons, in which a response is the number of a row in another table or a matrix.

    Create it with `from_columns`, which checks the columns.

    Parameters
    ----------
    user_ids
        Length n: the user of each comparison.
    prompt_ids
        Length n: the prompt that both responses reply to. A split never puts one prompt in both train and test.
    chosen, rejected
        Int [n]: the rows of the chosen and of the rejected responses.
    weights
        Float64 [n], positive: how many comparisons each one counts as. It is 1 unless one row of the input became
        several comparisons, or the input has a weight.
    splits
        Length n: the split of each comparison, as the input named it or as it was assigned; None for a comparison
        without a split. The whole column is None if no comparison has a split.
    """

    user_ids: Column
    prompt_ids: Column
    chosen: Vector
    rejected: Vector
    weights: Floats
    splits: Column | None

    @staticmethod
    def from_columns(
        chosen: Vector,
        rejected: Vector,
        user_ids: Column,
        prompt_ids: Column | None = None,
        weights: Column | None = None,
        splits: Column | None = None,
    ) -> Comparisons:
        """Check the columns and build the table from them.

        NumPy arrays, torch tensors and lists of numbers are kept unchanged. Pandas and Arrow columns become NumPy
        arrays, without a copy if their memory layout allows it. Ids of users and prompts become strings
        (`lorerm.data.ids`).

        If `prompt_ids` is None, each distinct pair of responses (in either order) counts as a prompt of its own.

        Raises `DataError` if a column is not valid; the error names the argument.
        """
        chosen, rejected = as_column(chosen), as_column(rejected)
        chosen_rows, rejected_rows = _as_rows(chosen, "chosen"), _as_rows(rejected, "rejected")
        n = len(chosen_rows)
        if n == 0:
            raise DataError(
                "there are no comparisons", "give at least one pair of chosen and rejected rows", argument="chosen"
            )
        columns: dict[str, Any] = {
            "user_ids": as_id_column(user_ids, "user_ids"),
            "prompt_ids": None if prompt_ids is None else as_id_column(prompt_ids, "prompt_ids"),
            "weights": as_column(weights),
            "splits": as_column(splits),
        }
        for name, column in {"rejected": rejected_rows, **columns}.items():
            if column is not None and len(column) != n:
                raise DataError(
                    f"{name} has {len(column)} entries, but chosen has {n}",
                    "give one entry per comparison",
                    argument=name,
                )
        same = np.flatnonzero(chosen_rows == rejected_rows)
        if same.size:
            raise DataError(
                f"comparison {same[0]} has row {chosen_rows[same[0]]} as both chosen and rejected",
                "leave out comparisons of a response with itself",
                argument="rejected",
            )
        if prompt_ids is None:
            columns["prompt_ids"] = UnorderedPairs(chosen_rows, rejected_rows)
        columns["weights"] = _as_weights(columns["weights"], n)
        return Comparisons(chosen=chosen, rejected=rejected, **columns)

    def check_rows(self, n_responses: int) -> None:
        """Raise `DataError` if a comparison refers to a row outside the range from 0 to `n_responses` - 1."""
        for name, rows in zip(("chosen", "rejected"), self.rows(), strict=True):
            outside = np.flatnonzero((rows < 0) | (rows >= n_responses))
            if outside.size:
                raise DataError(
                    f"{name}[{outside[0]}] is row {rows[outside[0]]}, but responses has rows 0 to {n_responses - 1}",
                    "give the numbers of rows that responses has",
                    argument=name,
                )

    def __repr__(self) -> str:
        """Return only the sizes, since user ids and comparisons do not belong in a log."""
        sizes = ", ".join(f"{name}={size}" for name, size in self._sizes().items())
        return f"{type(self).__name__}({sizes})"

    def _sizes(self) -> dict[str, int]:
        return {"comparisons": len(self)}

    def __len__(self) -> int:
        """Return the number of comparisons."""
        return len(self.chosen)

    def columns(self) -> dict[str, Any]:
        """Return the six columns by name, as arguments for the constructor of a subclass."""
        return {name: getattr(self, name) for name in Comparisons.__dataclass_fields__}

    def select(self: C, indices: Any) -> C:  # noqa: ANN401 - anything that indexes an array
        """Return the comparisons at `indices`, in that order; the responses are shared, not copied.

        Parameters
        ----------
        indices
            One index, a slice, indices (int [m]) or a mask (bool [n]); a list or an object of NumPy, torch, pandas or
            Arrow.
        """
        rows = as_indices(indices, len(self))
        return replace(
            self,
            chosen=_as_rows(self.chosen, "chosen")[rows],
            rejected=_as_rows(self.rejected, "rejected")[rows],
            user_ids=_take(self.user_ids, rows),
            prompt_ids=_take(self.prompt_ids, rows),
            weights=self.weights[rows],
            splits=None if self.splits is None else _take(self.splits, rows),
        )

    __getitem__ = select

    def without_users(self: C, user_ids: Collection[str], *, missing_ok: bool = False) -> C:
        """Return all comparisons except those of the given users, in unchanged order.

        Raises `UnknownUserError` if a user has no comparison, unless `missing_ok` is True.
        """
        wanted = as_ids(user_ids)
        if not missing_ok:
            check_known(wanted, set(self.index_users()[0]), "these comparisons")
        gone = set(wanted)
        return self.select(np.array([user not in gone for user in self.user_ids], dtype=bool))

    def with_splits(self: C, labels: Column) -> C:
        """Return the same comparisons with new labels in the column `splits`.

        Parameters
        ----------
        labels
            For each comparison: `train`, `test`, the name of one of the four splits, `unused`, or None.

        Raises
        ------
        DataError
            A label is not known, or the number of labels differs from the number of comparisons.
        """
        if len(labels) != len(self):
            raise DataError(
                f"{len(labels)} split labels for {len(self)} comparisons",
                "give one label for each comparison",
                argument="labels",
            )
        known = {label: parse_split(label) for label in dict.fromkeys(labels)}
        return replace(self, splits=as_strings(known[label] for label in labels))

    def rows(self) -> tuple[Ints, Ints]:
        """Return the rows of the chosen and of the rejected responses, as two int64 arrays [n]."""
        return _as_rows(self.chosen, "chosen"), _as_rows(self.rejected, "rejected")

    def index_users(self) -> tuple[tuple[str, ...], Ints]:
        """Return the distinct users in order of first appearance, and for each comparison the index of its user."""
        return index_distinct(self.user_ids)

    def weight_warnings(self) -> list[str]:
        """Return a list with a warning if weights together are unusually small or large; otherwise an empty list."""
        if self.weights.strides == (0,):  # one repeated weight of 1, see `_as_weights`
            return []
        return weight_warnings(self.weights, len(self.index_users()[0]))

    def index_prompt_texts(self) -> Ints | None:
        """Return for each comparison the index of its prompt's text, int64 [n]; None if there are no texts."""
        return None

    def id_warnings(self) -> list[str]:
        """Return sentences about different ids of users or prompts that look the same, if there are any."""
        warnings = look_alike_warnings(self.user_ids, "user")
        if not isinstance(self.prompt_ids, UnorderedPairs):
            warnings += look_alike_warnings(self.prompt_ids, "prompt")
        return warnings

    def describe_response(self, row: int) -> str:
        """Describe a response for an error, by the first comparison that uses it: user, prompt, chosen or rejected."""
        chosen, rejected = self.rows()
        found = np.flatnonzero((chosen == row) | (rejected == row))
        if not found.size:
            return f"response {row}"
        index = int(found[0])
        side = "chosen" if chosen[index] == row else "rejected"
        return f"the {side} response of user {self.user_ids[index]!r} to prompt {self.prompt_ids[index]!r}"


class UnorderedPairs(Sequence[str]):
    """Prompt ids made from the two response rows of each comparison: "3_7" for rows 3 and 7, in either order.

    Each string is built only when it is read, which saves memory.
    """

    def __init__(self, left: Ints, right: Ints) -> None:
        self._left, self._right = left, right

    def __len__(self) -> int:
        return len(self._left)

    def __getitem__(self, index: Any) -> Any:  # noqa: ANN401 - one name, or the names at several indices
        left, right = self._left[index], self._right[index]
        return UnorderedPairs(left, right) if np.ndim(left) else f"{min(left, right)}_{max(left, right)}"


def index_distinct(names: Column) -> tuple[tuple[str, ...], Ints]:
    """Return the distinct names in order of first appearance, and for each entry the index of its name (int64 [n])."""
    import pyarrow as pa  # pyarrow's hash table takes a fraction of the memory and time of sorting

    number: dict[str, int] = {}
    indices = np.empty(len(names), dtype=np.int64)
    for start in range(0, len(names), _NUMBERED_ROWS):
        some = names[start : start + _NUMBERED_ROWS]
        encoded = pa.array([str(name) for name in some], pa.string()).dictionary_encode()
        # A new name gets the next number; a known name keeps its number.
        known = [number.setdefault(name, len(number)) for name in encoded.dictionary.to_pylist()]
        indices[start : start + len(some)] = np.array(known, dtype=np.int64)[encoded.indices.to_numpy()]
    return tuple(number), indices


def as_strings(values: Any) -> Strings:  # noqa: ANN401 - any iterable of str or None
    """Return strings as an array of Python objects; equal strings share one object, which saves memory."""
    known: dict[str | None, str | None] = {}
    found = [known.setdefault(value, value) for value in values]
    return np.fromiter(found, dtype=object, count=len(found))


def _take(column: Column, indices: Ints) -> Column:
    if not isinstance(column, (np.ndarray, UnorderedPairs)):
        # Not np.asarray: it would turn tuples into a matrix, and ids of mixed types into strings.
        column = np.fromiter(column, dtype=object, count=len(column))
    return column[indices]


def _as_rows(column: Vector, name: str) -> Ints:
    rows = np.asarray(column)
    if rows.ndim != 1 or (rows.size and not np.issubdtype(rows.dtype, np.integer)):
        raise DataError(
            f"{name} has dtype {rows.dtype} and shape {rows.shape}",
            "give a vector of whole numbers, the rows of responses",
            argument=name,
        )
    return rows.astype(np.int64, copy=False)


def _as_weights(weights: Column | None, n: int) -> Floats:
    if weights is None:
        return np.broadcast_to(np.float64(1), n)  # a view that repeats one number takes no memory
    found = np.asarray(weights, dtype=np.float64)
    unusable = np.flatnonzero(~((found >= SMALLEST_WEIGHT) & (found <= LARGEST_WEIGHT)))  # also true for NaN
    if unusable.size:
        raise DataError(
            f"weights[{unusable[0]}] is {found[unusable[0]]}",
            f"give weights from {SMALLEST_WEIGHT:g} to {LARGEST_WEIGHT:g}",
            argument="weights",
        )
    return found
