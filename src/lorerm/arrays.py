"""Names of array types for annotations, and the conversion of columns and indices from pandas, Arrow and torch."""

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
"""Python strings, or None where a value may be missing."""
Column: TypeAlias = NDArray[Any] | Sequence[Any]
"""One value for each comparison, such as the user ids, as the caller gave them."""
Vector: TypeAlias = "NDArray[Any] | torch.Tensor | Sequence[int]"
"""One whole number for each comparison, as the caller gave them."""


def as_column(values: Any) -> Any:  # noqa: ANN401 - any object that looks like a column, or None
    """Return a pandas or Arrow column as a NumPy array, and any other column as it is.

    Memory is shared where the layout allows it: for numbers without missing values, but not for Arrow's strings.
    """
    if hasattr(values, "combine_chunks"):
        values = values.combine_chunks()
    if hasattr(values, "type") and hasattr(values, "to_numpy"):  # an Arrow array
        return values.to_numpy(zero_copy_only=False)
    return values.to_numpy() if hasattr(values, "to_numpy") else values


def as_indices(indices: Any, n: int) -> Ints:  # noqa: ANN401 - anything that indexes an array
    """Return int64 indices into n comparisons from one index, a slice, a vector of indices or a mask of length n."""
    if isinstance(indices, slice):
        return np.arange(n)[indices]
    given = np.atleast_1d(np.asarray(as_column(indices)))
    if given.dtype == bool:
        if given.shape != (n,):
            raise DataError(
                f"the mask has shape {given.shape}, there are {n} comparisons",
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
            f"index {found[outside[0]]} is out of range",
            f"there are {n} comparisons, from 0 to {n - 1}",
            argument="indices",
        )
    return found
