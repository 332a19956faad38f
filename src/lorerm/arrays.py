"""Type aliases for arrays, and the conversion of columns and indices from pandas, Arrow and torch to NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lorerm.errors import DataError

if TYPE_CHECKING:
    import torch

Bools: TypeAlias = NDArray[np.bool_]
Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
Floats32: TypeAlias = NDArray[np.float32]
Strings: TypeAlias = NDArray[np.object_]
"""Array of Python strings; a missing value is None."""
Column: TypeAlias = NDArray[Any] | Sequence[Any]
"""One value per comparison (for instance the user ids), in the type that the caller passed."""
Vector: TypeAlias = "NDArray[Any] | torch.Tensor | Sequence[int]"
"""One whole number per comparison, in the type that the caller passed."""


def as_column(values: Any) -> Any:  # noqa: ANN401 - any object that looks like a column, or None
    """Return a pandas or Arrow column as a NumPy array; return any other column unchanged.

    The array shares the column's memory if the layout allows it: it does for numbers without missing values, but not
    for Arrow strings.
    """
    if hasattr(values, "combine_chunks"):  # an Arrow column in several chunks
        values = values.combine_chunks()
    if hasattr(values, "type") and hasattr(values, "to_numpy"):  # an Arrow array
        return values.to_numpy(zero_copy_only=False)
    return values.to_numpy() if hasattr(values, "to_numpy") else values


def as_indices(indices: Any, n: int) -> Ints:  # noqa: ANN401 - anything that indexes an array
    """Convert one index, a slice, a vector of indices or a mask of length n to int64 indices into n comparisons.

    Raises `DataError` if an index is out of range or `indices` is none of these.
    """
    if isinstance(indices, slice):
        return np.arange(n)[indices]
    given = np.atleast_1d(np.asarray(as_column(indices)))
    if given.dtype == bool:
        if given.shape != (n,):
            raise DataError(
                f"the mask has shape {given.shape}, but there are {n} comparisons",
                "give one entry for each comparison",
                argument="indices",
            )
        return np.flatnonzero(given)
    if given.ndim != 1 or (given.size and not np.issubdtype(given.dtype, np.integer)):
        raise DataError(
            f"indices have dtype {given.dtype} and shape {given.shape}",
            "give a vector of whole numbers",
            argument="indices",
        )
    found = given.astype(np.int64, copy=False)
    outside = np.flatnonzero((found < -n) | (found >= n))
    if outside.size:
        raise DataError(
            f"index {found[outside[0]]} is out of range, since there are {n} comparisons",
            f"give indices from 0 to {n - 1}",
            argument="indices",
        )
    return found
