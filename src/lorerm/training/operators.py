"""Products of a tall matrix [n, D] with K directions [K, D], fast on the CPU if K is much smaller than n and D.

Rows are processed in spans of 4 MB. An optimisation step uses each span twice, for projections and for the gradient;
the second time, the span is still in the cache. Within a span, products are computed for small blocks, because OpenBLAS
(NumPy's usual BLAS) has kernels for small products that are about three times as fast. Several threads process spans at
the same time. The order of summation depends only on the shape, so that the result is the same to the last bit for any
number of threads.

A matrix is a tensor, or `StreamedRows`, which are read span by span for each product. If the tensor is on a GPU, torch
computes the products there. Directions, coefficients and results are small and always on the CPU.
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

    # Arguments: a span's first row, its last row + 1, and its projections [K, rows]. Result: coefficients [K, rows].
    Coefficients = Callable[[int, int, Floats32], Floats32]

Rows: TypeAlias = "torch.Tensor | StreamedRows"

# Limits of OpenBLAS's kernels for small products: number of multiply-adds, number of elements of the result.
_SMALL_PRODUCT, _SMALL_RESULT = 1_000_000, 1200
# Elements of a block (256 kB): all data of one product fit into the cache of one core.
_BLOCK_ELEMENTS = 1 << 16
# Elements of a span (4 MB). With smaller spans, threads wait for Python's global lock; larger spans are no longer in
# the cache at their second use.
_SPAN_ELEMENTS = 1 << 20
# Largest number of partial sums, each computed by one thread.
_PARTS = 64
# Number of multiply-adds below which starting a second thread costs more time than it saves.
_WORTH_A_THREAD = 50_000_000
# What the function `work` returns for a span if nothing is to be summed (see `project`).
_NOTHING = np.zeros(0, dtype=np.float32)
# Rows of at least this many elements are prefetched by the processor itself.
_LONG_ROW = 2048
# Elements converted at a time to compute the mean of streamed rows.
_MEAN_ELEMENTS = 1 << 22


@dataclass(frozen=True, eq=False)
class StreamedRows:
    """Centred rows of a matrix that does not fit into memory as float32; rows are read and converted when used."""

    source: torch.Tensor | StoredMatrix
    """[S, D], in memory or on disk, in any float dtype"""
    index: Ints
    """int64 [R], increasing: the indices of the selected rows"""
    mean: torch.Tensor
    """float32 [D]: the mean of the selected rows, which is subtracted"""

    @classmethod
    def of(cls, source: Matrix, index: Ints) -> StreamedRows:
        """Select the rows `index` of a matrix, and read them once to compute their mean."""
        stored = source if isinstance(source, StoredMatrix) else as_tensor(source)
        rows = cls(stored, index, torch.zeros(stored.shape[1]))
        total = torch.zeros(stored.shape[1], dtype=torch.float64)
        step = max(1, _MEAN_ELEMENTS // stored.shape[1])
        for first in range(0, len(index), step):
            total += rows[first : first + step].sum(dim=0).double()
        return cls(stored, index, (total / len(index)).float())

    @property
    def shape(self) -> tuple[int, int]:
        """The number of rows R and the dimension D."""
        return len(self.index), self.source.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the converted rows, float32."""
        return torch.float32

    def __len__(self) -> int:
        """Return the number of rows R."""
        return len(self.index)

    def __getitem__(self, rows: slice | torch.Tensor) -> torch.Tensor:
        """Read some rows: float32 [m, D]."""
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
    """Do `project` and `pull_back` in one pass over the matrix, with coefficients computed from the projections.

    Return the projections [n, K] and the sums [K, D]. `matrix` is float32 [n, D] on the CPU (see `in_blocks`), and
    `directions` are float32 [K, D]. Several threads call `coefficients` at the same time.
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
    """Return the product [n_rows, D] of a sparse matrix with `matrix`.

    The m entries of the sparse matrix are `values` [m] at `rows` [m] and `columns` [m].
    """
    if isinstance(matrix, torch.Tensor):
        return (sparse(rows, columns, values, (n_rows, len(matrix))).to(matrix.device) @ matrix).cpu()
    total = torch.zeros(n_rows, matrix.shape[1])
    columns, order = columns.sort(stable=True)
    step = max(1, _SPAN_ELEMENTS // matrix.shape[1])
    for first in range(0, len(matrix), step):
        # After sorting by column, the entries at positions `begin` to `end` multiply the rows of this block.
        begin, end = torch.searchsorted(columns, torch.tensor([first, first + step])).tolist()
        own = order[begin:end]
        block = matrix[first : first + step]
        # Only these rows of the result have entries in this block.
        present, row = torch.unique(rows[own], return_inverse=True)
        part = sparse(row, columns[begin:end] - first, values[own], (len(present), len(block))) @ block
        total.index_add_(0, present, part)
    return total


def sparse(rows: torch.Tensor, columns: torch.Tensor, values: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Return a sparse matrix in CSR format: its products are much faster than gathering and scattering rows."""
    with warnings.catch_warnings():
        # torch warns that CSR is a beta feature; the tests compare the products used here with dense ones.
        warnings.filterwarnings("ignore", message="Sparse (CSR|invariant)", category=UserWarning)
        return (
            torch.sparse_coo_tensor(torch.stack([rows, columns]), values, shape, check_invariants=False)
            .coalesce()
            .to_sparse_csr()
        )


def in_blocks(*tensors: torch.Tensor) -> bool:
    """Return whether products of these tensors are computed in blocks here (float32 on the CPU), not by torch."""
    return all(t.device.type == "cpu" and t.dtype == torch.float32 and t.numel() > 0 for t in tensors)


def _rows(matrix: Rows) -> Callable[[int, int], Floats32]:
    """Return a function that reads consecutive rows; its arguments are the first row and the last row + 1."""
    if isinstance(matrix, torch.Tensor):
        rows: Floats32 = matrix.numpy()
        return lambda first, last: rows[first:last]
    return lambda first, last: matrix[first:last].numpy()


def _project(span: Floats32, directions: Floats32, out: Floats32) -> None:
    """Write directions @ span.T to `out` [K, rows]."""
    rank, dimension = directions.shape
    if dimension < _LONG_ROW:
        # The kernels read small parts of many rows. Reading the span in order first brings it into the cache; the
        # result is not used.
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
    """Return the number of rows of a block, given (K, D)."""
    rank, dimension = shape
    rows = min(_BLOCK_ELEMENTS // dimension, _SMALL_PRODUCT // (rank * dimension), _SMALL_RESULT // rank)
    # The kernels are fastest for multiples of the registers' size.
    return rows // 16 * 16 if rows >= 16 else max(1, rows)


def _in_spans(n_rows: int, shape: tuple[int, ...], work: Callable[[int, int], Floats32]) -> Floats32:
    """Return the sum of `work(first, last)` over consecutive spans, in an order that does not depend on threads."""
    rows = _rows_per_block(shape)
    span = rows * max(1, _SPAN_ELEMENTS // (rows * shape[1]))
    # Rows per partial sum: a multiple of `span`, as small as possible with at most `_PARTS` partial sums.
    part = span * -(-n_rows // (span * _PARTS))

    def sum_of_part(first: int) -> Floats32:
        last = min(first + part, n_rows)
        return reduce(np.add, (work(start, min(start + span, last)) for start in range(first, last, span)))

    begins = range(0, n_rows, part)
    # BLAS's own threads do not speed up small blocks, and would compete with the threads started here.
    with _blas().limit(limits=1):
        small = n_rows * shape[0] * shape[1] < _WORTH_A_THREAD
        return reduce(np.add, map(sum_of_part, begins) if small else map_in_threads(sum_of_part, begins))


@lru_cache(maxsize=1)
def _blas() -> Any:  # noqa: ANN401 - threadpoolctl has no types
    """Return the controller of NumPy's BLAS threads; it is cached, because finding the library takes a millisecond."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")
