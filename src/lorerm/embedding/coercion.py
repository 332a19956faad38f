"""Columns and matrices as people have them, in NumPy, torch, pandas or Arrow, brought to NumPy or torch.

Memory is shared wherever the layout allows it: pandas and Arrow columns of numbers without gaps, and Arrow's lists of
one length, are not copied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lorerm.errors import DataError

if TYPE_CHECKING:
    from lorerm.embedding.embedded_preferences import Matrix


def plain_matrix(values: Any) -> Matrix:  # noqa: ANN401 - whatever looks like a matrix
    """Return a matrix as it is, or as NumPy where it is a pandas frame, an Arrow table, or a column of Arrow lists.

    Raises
    ------
    DataError
        If an Arrow column's lists have different lengths, or one is missing.
    """
    if hasattr(values, "combine_chunks"):
        values = values.combine_chunks()
    kind = str(getattr(values, "type", ""))
    if kind.startswith(("fixed_size_list", "list", "large_list")) and values.null_count:
        # Arrow would leave it out, and the rows behind it would move up.
        row = values.is_null().index(True).as_py()
        raise DataError(f"responses row {row} is missing", "give every row")
    if kind.startswith("fixed_size_list"):
        return values.flatten().to_numpy(zero_copy_only=False).reshape(len(values), -1)  # type: ignore[no-any-return]
    if kind.startswith(("list", "large_list")):
        flat = values.flatten().to_numpy(zero_copy_only=False)
        lengths = np.diff(values.offsets.to_numpy())
        if len(lengths) and (lengths != lengths[0]).any():
            row = int(np.flatnonzero(lengths != lengths[0])[0])
            raise DataError(
                f"responses row {row} has {lengths[row]} numbers, row 0 has {lengths[0]}", "give rows of one length"
            )
        return flat.reshape(len(values), -1)  # type: ignore[no-any-return]
    if hasattr(values, "column_names"):  # an Arrow table: one column per feature
        return np.column_stack([column.to_numpy() for column in values.columns])
    return values.to_numpy() if hasattr(values, "to_numpy") else values  # type: ignore[no-any-return]


def plain_column(values: Any) -> Any:  # noqa: ANN401 - whatever looks like a column, None too
    """Return a column as it is, or as NumPy where it is pandas' or Arrow's."""
    if hasattr(values, "combine_chunks"):
        values = values.combine_chunks()
    if hasattr(values, "type") and hasattr(values, "to_numpy"):  # an Arrow array: texts can only be copied
        return values.to_numpy(zero_copy_only=False)
    return values.to_numpy() if hasattr(values, "to_numpy") else values


def as_places(indices: Any, n: int) -> np.ndarray[Any, np.dtype[np.int64]]:  # noqa: ANN401 - whatever indexes an array
    """Return int64 places out of n, from one, a slice, an index array or a mask of length n.

    Raises
    ------
    DataError
        If it is none of these, or out of range.
    """
    if isinstance(indices, slice):
        return np.arange(n)[indices]
    given = np.atleast_1d(np.asarray(plain_column(indices)))
    if given.dtype == bool:
        if given.shape != (n,):
            raise DataError(f"the mask has shape {given.shape}, there are {n} comparisons", "give one entry for each")
        return np.flatnonzero(given)
    if given.ndim != 1 or (given.size and not np.issubdtype(given.dtype, np.integer)):
        raise DataError(f"indices have dtype {given.dtype} and shape {given.shape}", "give a vector of whole numbers")
    places = given.astype(np.int64, copy=False)
    outside = np.flatnonzero((places < -n) | (places >= n))
    if outside.size:
        raise DataError(f"index {places[outside[0]]} is out of range", f"there are {n} comparisons, from 0 to {n - 1}")
    return places
