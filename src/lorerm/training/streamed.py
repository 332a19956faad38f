"""Rows of a matrix too large to be held in float32: converted and centred a few at a time, when they are used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lorerm.embedding.matrices import StoredMatrix, as_tensor

if TYPE_CHECKING:
    from lorerm.embedding.matrices import Matrix

# Elements that are looked at together while the mean is taken.
_BLOCK_ELEMENTS = 1 << 22


@dataclass(frozen=True, eq=False)
class StreamedRows:
    """Rows of a matrix less their mean, as a matrix [R, D] that is never there as a whole.

    Parameters
    ----------
    source
        [S, D], in memory or on disk, in any float dtype.
    index
        Int64 [R], increasing: which of its rows.
    mean
        Float32 [D].
    """

    source: torch.Tensor | StoredMatrix
    index: np.ndarray[Any, np.dtype[np.int64]]
    mean: torch.Tensor

    @classmethod
    def of(cls, source: Matrix, index: np.ndarray[Any, np.dtype[np.int64]]) -> StreamedRows:
        """Take rows, reading them once for their mean."""
        held = source if isinstance(source, StoredMatrix) else as_tensor(source)
        rows = cls(held, index, torch.zeros(held.shape[1]))
        total = torch.zeros(held.shape[1], dtype=torch.float64)
        step = max(1, _BLOCK_ELEMENTS // held.shape[1])
        for first in range(0, len(index), step):
            total += rows[first : first + step].sum(dim=0).double()
        return cls(held, index, (total / len(index)).float())

    @property
    def shape(self) -> tuple[int, int]:
        """(R, D)."""
        return len(self.index), self.source.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """That of the rows as they are given out: float32, whatever the source has."""
        return torch.float32

    @property
    def device(self) -> torch.device:
        """Where the rows are given out."""
        return torch.device("cpu")

    def numel(self) -> int:
        """Return the number of elements."""
        return len(self.index) * self.source.shape[1]

    def __len__(self) -> int:
        """Return the number of rows R."""
        return len(self.index)

    def __getitem__(self, rows: slice | torch.Tensor) -> torch.Tensor:
        """Return some rows, float32 [m, D]."""
        index = self.index[rows if isinstance(rows, slice) else rows.numpy()]
        return (
            self.source[index if isinstance(self.source, StoredMatrix) else torch.from_numpy(index)]
            .float()
            .sub_(self.mean)
        )
