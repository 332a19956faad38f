"""Products of a tall matrix with a few directions, in blocks of rows that stay in the cache.

The usual BLAS layouts are slow on such skinny products, and value and gradient read the matrix twice. On the CPU the
rows are therefore taken in spans that the second product finds in the cache, and a span in blocks so small that
OpenBLAS, NumPy's usual BLAS, uses its kernels for small matrices, some three times as fast. Spans are shared out to
threads and summed in an order that depends on the shape alone: any number of threads gives the same bits.

A matrix is a tensor, or `StreamedRows`: then each product reads the rows from where they are, span by span. A tensor
on another device is multiplied there, by torch. What goes in and comes out is on the CPU in any case: it has K numbers
where the matrix has D, and so the solvers need not know where the matrix is.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lorerm.threads import map_in_threads
from lorerm.training.streamed import StreamedRows

if TYPE_CHECKING:
    Matrix = torch.Tensor | StreamedRows
    Array = np.ndarray[Any, np.dtype[np.float32]]
    # Given a span's first row, its last + 1, and its projections [K, rows]: coefficients [K, rows].
    Coefficients = Callable[[int, int, Array], Array]

# OpenBLAS has kernels for products of at most so many multiply-adds, and so many results.
_SMALL_PRODUCT, _SMALL_RESULT = 1_000_000, 1200
# Elements of a block, 256 kB: all that a product touches stays in a core's own cache.
_BLOCK_ELEMENTS = 1 << 16
# Elements of a span, 4 MB. With less the threads wait for each other's turn with Python, and with more the second
# product does not find them in the cache.
_SPAN_ELEMENTS = 1 << 20
# Partial sums to add up at most; so many threads can be kept busy.
_PARTS = 64
# Multiply-adds below which a second thread takes longer to start than it saves.
_WORTH_A_THREAD = 50_000_000
_NOTHING = np.zeros(0, dtype=np.float32)
# Rows of at least so many elements are read ahead by the processor itself.
_LONG_ROW = 2048


def project(matrix: Matrix, directions: torch.Tensor) -> torch.Tensor:
    """Return x . v for every row and direction: [n, K] from `matrix` [n, D] and `directions` [K, D]."""
    if isinstance(matrix, torch.Tensor) and not in_blocks(matrix, directions):
        return torch.nn.functional.linear(matrix, directions.to(matrix.device)).cpu()
    rows, v = _rows(matrix), directions.float().contiguous().numpy()
    projected = np.empty((len(v), len(matrix)), dtype=np.float32)

    def work(first: int, last: int) -> Array:
        _project(rows(first, last), v, projected[:, first:last])
        return _NOTHING

    _in_spans(len(matrix), v.shape, work)
    return torch.from_numpy(projected).t()


def pull_back(matrix: Matrix, coefficients: torch.Tensor) -> torch.Tensor:
    """Return sum_i coefficients[i, k] * x_i: [K, D] from `matrix` [n, D] and `coefficients` [n, K]."""
    if isinstance(matrix, torch.Tensor) and not in_blocks(matrix, coefficients):
        return (coefficients.t().contiguous().to(matrix.device) @ matrix).cpu()
    rows, of_rows = _rows(matrix), coefficients.t().float().numpy()

    def work(first: int, last: int) -> Array:
        return _pull_back(rows(first, last), of_rows[:, first:last])

    return torch.from_numpy(_in_spans(len(matrix), (len(of_rows), matrix.shape[1]), work))


def project_and_pull_back(
    matrix: torch.Tensor, directions: torch.Tensor, coefficients: Coefficients
) -> tuple[torch.Tensor, torch.Tensor]:
    """Do both in one pass, the coefficients computed from the projections; return float32 [n, K] and [K, D].

    Parameters
    ----------
    matrix
        Float32 [n, D] on the CPU, see `in_blocks`.
    directions
        Float32 [K, D].
    coefficients
        Called with a span's first row, its last + 1 and its projections [K, rows]; returns coefficients [K, rows].
        Runs in several threads at once.
    """
    rows, v = matrix.numpy(), directions.contiguous().numpy()
    projected = np.empty((len(v), len(rows)), dtype=np.float32)

    def work(first: int, last: int) -> Array:
        span, own = rows[first:last], projected[:, first:last]
        _project(span, v, own)
        return _pull_back(span, coefficients(first, last, own))

    pulled = _in_spans(len(rows), v.shape, work)
    return torch.from_numpy(projected).t(), torch.from_numpy(pulled)


def sparse_product(
    rows: torch.Tensor, columns: torch.Tensor, values: torch.Tensor, n_rows: int, matrix: Matrix
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
        # In compressed rows: few of the result's rows have entries here.
        present, place = torch.unique(rows[own], return_inverse=True)
        part = sparse(place, columns[begin:end] - first, values[own], (len(present), len(block))) @ block
        total.index_add_(0, present, part)
    return total


def sparse(rows: torch.Tensor, columns: torch.Tensor, values: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Return a matrix in compressed rows: its products run far faster than gathering and scattering."""
    with warnings.catch_warnings():
        # torch calls the layout beta; the products used here are tested against dense ones.
        warnings.filterwarnings("ignore", message="Sparse (CSR|invariant)", category=UserWarning)
        return (
            torch.sparse_coo_tensor(torch.stack([rows, columns]), values, shape, check_invariants=False)
            .coalesce()
            .to_sparse_csr()
        )


def in_blocks(*tensors: torch.Tensor) -> bool:
    """Tell whether the products of these are computed here; torch does so on other devices and in other precisions."""
    return all(t.device.type == "cpu" and t.dtype == torch.float32 and t.numel() > 0 for t in tensors)


def _rows(matrix: Matrix) -> Callable[[int, int], Array]:
    """Return the function that gives a span of rows."""
    if isinstance(matrix, torch.Tensor):
        rows: Array = matrix.numpy()
        return lambda first, last: rows[first:last]
    return lambda first, last: matrix[first:last].numpy()


def _project(span: Array, directions: Array, out: Array) -> None:
    """Write directions @ span.T to `out` [K, rows]."""
    rank, dimension = directions.shape
    if dimension < _LONG_ROW:
        # The kernels read many rows at once, a little of each; memory is faster when it is read from end to end first.
        flat = span.reshape(-1)
        flat.dot(flat)
    rows = _rows_per_block(directions.shape)
    whole = len(span) // rows
    blocks = span[: whole * rows].reshape(whole, rows, dimension)
    np.matmul(directions, blocks.swapaxes(1, 2), out=out[:, : whole * rows].reshape(rank, whole, rows).swapaxes(0, 1))
    np.matmul(directions, span[whole * rows :].T, out=out[:, whole * rows :])


def _pull_back(span: Array, coefficients: Array) -> Array:
    """Return coefficients @ span: [K, D]."""
    rank, dimension = len(coefficients), span.shape[1]
    rows = _rows_per_block((rank, dimension))
    whole = len(span) // rows
    of_blocks = coefficients[:, : whole * rows].reshape(rank, whole, rows).swapaxes(0, 1)
    parts = np.matmul(np.ascontiguousarray(of_blocks), span[: whole * rows].reshape(whole, rows, dimension))
    total: Array = parts.sum(axis=0)
    if len(span) > whole * rows:
        total += coefficients[:, whole * rows :] @ span[whole * rows :]
    return total


def _rows_per_block(shape: tuple[int, ...]) -> int:
    """Return how many rows of length D a block has that K directions are multiplied with; `shape` is (K, D)."""
    rank, dimension = shape
    rows = min(_BLOCK_ELEMENTS // dimension, _SMALL_PRODUCT // (rank * dimension), _SMALL_RESULT // rank)
    # The kernels like whole multiples of what their registers hold.
    return rows // 16 * 16 if rows >= 16 else max(1, rows)


def _in_spans(n_rows: int, shape: tuple[int, ...], work: Callable[[int, int], Array]) -> Array:
    """Return the sum of what `work` returns for consecutive spans of rows; the order does not depend on the threads."""
    rows = _rows_per_block(shape)
    span = rows * max(1, _SPAN_ELEMENTS // (rows * shape[1]))
    part = span * -(-n_rows // (span * _PARTS))

    def sum_of_part(first: int) -> Array:
        last = min(first + part, n_rows)
        total = work(first, min(first + span, last))
        for start in range(first + span, last, span):
            total += work(start, min(start + span, last))
        return total

    begins = range(0, n_rows, part)
    # The library's own threads are no use on small blocks, and would compete with these.
    with _blas().limit(limits=1):
        small = n_rows * shape[0] * shape[1] < _WORTH_A_THREAD
        return _sum(map(sum_of_part, begins) if small else map_in_threads(sum_of_part, begins))


def _sum(parts: Iterator[Array]) -> Array:
    total = next(parts)
    for part in parts:
        total += part
    return total


@lru_cache(maxsize=1)
def _blas() -> Any:  # noqa: ANN401 - threadpoolctl has no types
    """Return the controller of NumPy's BLAS; to look for the library takes a millisecond."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")
