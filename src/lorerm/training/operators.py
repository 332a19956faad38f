"""Products of a tall matrix [n, D] with K directions [K, D], fast on the CPU where K is much smaller than n and D.

Rows are processed in spans of 4 MB: a span is still in the cache when the second product of a step, the gradient's,
reads it. Within a span the products are of small blocks, for which OpenBLAS, NumPy's usual BLAS, has kernels that are
about three times as fast. Threads share the spans. The order of summation depends on the shape alone, so that the
result is the same to the last bit for any number of threads.

A matrix is a tensor, or `StreamedRows` that are read span by span at each product. A tensor on another device is
multiplied there by torch. Directions, coefficients and results are on the CPU in any case, because they are small.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

from lorerm.embedding.matrices import StoredMatrix, as_tensor
from lorerm.threads import map_in_threads

if TYPE_CHECKING:
    from lorerm.arrays import Floats32, Ints
    from lorerm.embedding.matrices import Matrix

    # Given a span's first row, its last + 1, and its projections [K, rows]: coefficients [K, rows].
    Coefficients = Callable[[int, int, Floats32], Floats32]

Rows: TypeAlias = "torch.Tensor | StreamedRows"

# OpenBLAS has kernels for products of at most so many multiply-adds, and so many results.
_SMALL_PRODUCT, _SMALL_RESULT = 1_000_000, 1200
# Elements of a block, 256 kB: all that a product touches fits into a core's own cache.
_BLOCK_ELEMENTS = 1 << 16
# Elements of a span, 4 MB. With less, threads wait for each other at Python's global lock; with more, the second
# product does not find the span in the cache.
_SPAN_ELEMENTS = 1 << 20
# Largest number of partial sums, and so of threads at work.
_PARTS = 64
# Multiply-adds below which starting a second thread costs more than it saves.
_WORTH_A_THREAD = 50_000_000
_NOTHING = np.zeros(0, dtype=np.float32)
# The processor prefetches rows of at least so many elements by itself.
_LONG_ROW = 2048
# Elements converted at a time for the mean of streamed rows.
_MEAN_ELEMENTS = 1 << 22


@dataclass(frozen=True, eq=False)
class StreamedRows:
    """Centred rows of a matrix that is too large for memory in float32; they are converted when they are used."""

    source: torch.Tensor | StoredMatrix
    """[S, D], in memory or on disk, in any float dtype"""
    index: Ints
    """int64 [R], increasing: the rows taken"""
    mean: torch.Tensor
    """float32 [D]: their mean, which is subtracted"""

    @classmethod
    def of(cls, source: Matrix, index: Ints) -> StreamedRows:
        """Take some rows; they are read once for their mean."""
        stored = source if isinstance(source, StoredMatrix) else as_tensor(source)
        rows = cls(stored, index, torch.zeros(stored.shape[1]))
        total = torch.zeros(stored.shape[1], dtype=torch.float64)
        step = max(1, _MEAN_ELEMENTS // stored.shape[1])
        for first in range(0, len(index), step):
            total += rows[first : first + step].sum(dim=0).double()
        return cls(stored, index, (total / len(index)).float())

    @property
    def shape(self) -> tuple[int, int]:
        """(R, D)."""
        return len(self.index), self.source.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the converted rows, float32."""
        return torch.float32

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


def project(matrix: Rows, directions: torch.Tensor) -> torch.Tensor:
    """Return x . v for every row and direction: [n, K] from `matrix` [n, D] and `directions` [K, D]."""
    if isinstance(matrix, torch.Tensor) and not in_blocks(matrix, directions):
        return torch.nn.functional.linear(matrix, directions.to(matrix.device)).cpu()
    rows, v = _rows(matrix), directions.float().contiguous().numpy()
    projected = np.empty((len(v), len(matrix)), dtype=np.float32)

    def work(first: int, last: int) -> Floats32:
        _project(rows(first, last), v, projected[:, first:last])
        return _NOTHING

    _in_spans(len(matrix), v.shape, work)
    return torch.from_numpy(projected).t()


def pull_back(matrix: Rows, coefficients: torch.Tensor) -> torch.Tensor:
    """Return sum_i coefficients[i, k] * x_i: [K, D] from `matrix` [n, D] and `coefficients` [n, K]."""
    if isinstance(matrix, torch.Tensor) and not in_blocks(matrix, coefficients):
        return (coefficients.t().contiguous().to(matrix.device) @ matrix).cpu()
    rows, of_rows = _rows(matrix), coefficients.t().float().numpy()

    def work(first: int, last: int) -> Floats32:
        return _pull_back(rows(first, last), of_rows[:, first:last])

    return torch.from_numpy(_in_spans(len(matrix), (len(of_rows), matrix.shape[1]), work))


def project_and_pull_back(
    matrix: torch.Tensor, directions: torch.Tensor, coefficients: Coefficients
) -> tuple[torch.Tensor, torch.Tensor]:
    """Project, compute coefficients from the projections and pull them back, in one pass; return [n, K] and [K, D].

    `matrix` is float32 [n, D] on the CPU (see `in_blocks`), `directions` float32 [K, D]. `coefficients` runs in several
    threads at once.
    """
    rows, v = matrix.numpy(), directions.contiguous().numpy()
    projected = np.empty((len(v), len(rows)), dtype=np.float32)

    def work(first: int, last: int) -> Floats32:
        span, own = rows[first:last], projected[:, first:last]
        _project(span, v, own)
        return _pull_back(span, coefficients(first, last, own))

    pulled = _in_spans(len(rows), v.shape, work)
    return torch.from_numpy(projected).t(), torch.from_numpy(pulled)


def sparse_product(
    rows: torch.Tensor, columns: torch.Tensor, values: torch.Tensor, n_rows: int, matrix: Rows
) -> torch.Tensor:
    """Return the product [n_rows, D] of a sparse matrix, given by its entries [m], with a matrix."""
    if isinstance(matrix, torch.Tensor):
        return (sparse(rows, columns, values, (n_rows, len(matrix))).to(matrix.device) @ matrix).cpu()
    total = torch.zeros(n_rows, matrix.shape[1])
    columns, order = columns.sort(stable=True)
    step = max(1, _SPAN_ELEMENTS // matrix.shape[1])
    for first in range(0, len(matrix), step):
        begin, end = torch.searchsorted(columns, torch.tensor([first, first + step])).tolist()
        own = order[begin:end]
        block = matrix[first : first + step]
        # Only the rows of the result with entries in this block.
        present, row = torch.unique(rows[own], return_inverse=True)
        part = sparse(row, columns[begin:end] - first, values[own], (len(present), len(block))) @ block
        total.index_add_(0, present, part)
    return total


def sparse(rows: torch.Tensor, columns: torch.Tensor, values: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Return a sparse matrix in compressed rows, whose products are much faster than gathering and scattering."""
    with warnings.catch_warnings():
        # torch calls the layout beta; the tests compare the products used here with dense ones.
        warnings.filterwarnings("ignore", message="Sparse (CSR|invariant)", category=UserWarning)
        return (
            torch.sparse_coo_tensor(torch.stack([rows, columns]), values, shape, check_invariants=False)
            .coalesce()
            .to_sparse_csr()
        )


def in_blocks(*tensors: torch.Tensor) -> bool:
    """Return whether products of these are computed here: float32 on the CPU. The others are left to torch."""
    return all(t.device.type == "cpu" and t.dtype == torch.float32 and t.numel() > 0 for t in tensors)


def _rows(matrix: Rows) -> Callable[[int, int], Floats32]:
    """Return the function that returns the rows from a first one to a last + 1."""
    if isinstance(matrix, torch.Tensor):
        rows: Floats32 = matrix.numpy()
        return lambda first, last: rows[first:last]
    return lambda first, last: matrix[first:last].numpy()


def _project(span: Floats32, directions: Floats32, out: Floats32) -> None:
    """Write directions @ span.T to `out` [K, rows]."""
    rank, dimension = directions.shape
    if dimension < _LONG_ROW:
        # The kernels read a little of many rows at a time: reading the span in order first brings it into the cache.
        flat = span.reshape(-1)
        flat.dot(flat)
    rows = _rows_per_block(directions.shape)
    whole = len(span) // rows
    blocks = span[: whole * rows].reshape(whole, rows, dimension)
    np.matmul(directions, blocks.swapaxes(1, 2), out=out[:, : whole * rows].reshape(rank, whole, rows).swapaxes(0, 1))
    np.matmul(directions, span[whole * rows :].T, out=out[:, whole * rows :])


def _pull_back(span: Floats32, coefficients: Floats32) -> Floats32:
    """Return coefficients @ span: [K, D]."""
    rank, dimension = len(coefficients), span.shape[1]
    rows = _rows_per_block((rank, dimension))
    whole = len(span) // rows
    of_blocks = coefficients[:, : whole * rows].reshape(rank, whole, rows).swapaxes(0, 1)
    parts = np.matmul(np.ascontiguousarray(of_blocks), span[: whole * rows].reshape(whole, rows, dimension))
    total: Floats32 = parts.sum(axis=0)
    if len(span) > whole * rows:
        total += coefficients[:, whole * rows :] @ span[whole * rows :]
    return total


def _rows_per_block(shape: tuple[int, ...]) -> int:
    """Return the number of rows of a block; `shape` is (K, D)."""
    rank, dimension = shape
    rows = min(_BLOCK_ELEMENTS // dimension, _SMALL_PRODUCT // (rank * dimension), _SMALL_RESULT // rank)
    # The kernels are fastest for multiples of the registers' size.
    return rows // 16 * 16 if rows >= 16 else max(1, rows)


def _in_spans(n_rows: int, shape: tuple[int, ...], work: Callable[[int, int], Floats32]) -> Floats32:
    """Return the sum of the results of `work` for consecutive spans of rows, in an order independent of threads."""
    rows = _rows_per_block(shape)
    span = rows * max(1, _SPAN_ELEMENTS // (rows * shape[1]))
    part = span * -(-n_rows // (span * _PARTS))

    def sum_of_part(first: int) -> Floats32:
        last = min(first + part, n_rows)
        return reduce(np.add, (work(start, min(start + span, last)) for start in range(first, last, span)))

    begins = range(0, n_rows, part)
    # BLAS's own threads do not speed up small blocks, and would compete with these.
    with _blas().limit(limits=1):
        small = n_rows * shape[0] * shape[1] < _WORTH_A_THREAD
        return reduce(np.add, map(sum_of_part, begins) if small else map_in_threads(sum_of_part, begins))


@lru_cache(maxsize=1)
def _blas() -> Any:  # noqa: ANN401 - threadpoolctl has no types
    """Return the controller of NumPy's BLAS threads; finding the library takes a millisecond."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")
