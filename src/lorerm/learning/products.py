"""Products of a tall matrix with a few directions, in blocks of rows that stay in the cache.

The usual BLAS layouts are slow on such skinny products, and value and gradient read the matrix twice. On the CPU the
rows are therefore taken in spans that the second product finds in the cache, and a span in blocks so small that
OpenBLAS, NumPy's usual BLAS, uses its kernels for small matrices, some three times as fast. Spans are shared out to
threads and summed in an order that depends on the shape alone: any number of threads gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[np.float32]]
    # Given a span's first row, its last + 1, and its projections [K, rows]: coefficients [K, rows].
    Coefficients = Callable[[int, int, Array], Array]

T = TypeVar("T")

# OpenBLAS has kernels for products of at most so many multiply-adds, and so many results.
_SMALL_PRODUCT, _SMALL_RESULT = 1_000_000, 1200
# Elements of a span, 3 MB: less, and Python's share of the time grows; more, and the second product misses the cache.
_SPAN_ELEMENTS = 3 << 18
# Partial sums to add up at most; so many threads can be kept busy.
_PARTS = 64
# Multiply-adds below which a second thread takes longer to start than it saves.
_WORTH_A_THREAD = 50_000_000
# Rows of at least so many elements are read ahead by the processor itself.
_LONG_ROW = 2048


def project(matrix: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
    """Return x . v for every row and direction: [n, K] from `matrix` [n, D] and `directions` [K, D]."""
    if not in_blocks(matrix, directions):
        return torch.nn.functional.linear(matrix, directions)
    rows, v = matrix.numpy(), directions.contiguous().numpy()
    projected = np.empty((len(v), len(rows)), dtype=np.float32)

    def work(first: int, last: int) -> None:
        _project(rows[first:last], v, projected[:, first:last])

    _each_span(len(rows), v.shape, work)
    return torch.from_numpy(projected).t()


def pull_back(matrix: torch.Tensor, coefficients: torch.Tensor) -> torch.Tensor:
    """Return sum_i coefficients[i, k] * x_i: [K, D] from `matrix` [n, D] and `coefficients` [n, K]."""
    if not in_blocks(matrix, coefficients):
        return coefficients.t().contiguous() @ matrix
    rows, of_rows = matrix.numpy(), coefficients.t().numpy()

    def work(first: int, last: int) -> Array:
        return _pull_back(rows[first:last], of_rows[:, first:last])

    return _sum(_each_span(len(rows), (len(of_rows), rows.shape[1]), work))


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

    pulled = _sum(_each_span(len(rows), v.shape, work))
    return torch.from_numpy(projected).t(), pulled


def in_blocks(*tensors: torch.Tensor) -> bool:
    """Tell whether the products of these are computed here; torch does so on other devices and in other precisions."""
    return all(t.device.type == "cpu" and t.dtype == torch.float32 and t.numel() > 0 for t in tensors)


def _project(span: Array, directions: Array, out: Array) -> None:
    """Write directions @ span.T to `out` [K, rows]."""
    rank, dimension = directions.shape
    if dimension < _LONG_ROW:
        # The kernels read many rows at once, a little of each; memory is faster when it is read from end to end first.
        flat = span.reshape(-1)
        flat.dot(flat)
    rows = _rows_per_block(directions.shape)
    whole = len(span) // rows
    blocks = np.matmul(directions, span[: whole * rows].reshape(whole, rows, dimension).swapaxes(1, 2))
    out[:, : whole * rows].reshape(rank, whole, rows)[:] = blocks.swapaxes(0, 1)
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
    rows = min(_SMALL_PRODUCT // (rank * dimension), _SMALL_RESULT // rank)
    # The kernels like whole multiples of what their registers hold.
    return rows // 16 * 16 if rows >= 16 else max(1, rows)


def _each_span(n_rows: int, shape: tuple[int, ...], work: Callable[[int, int], T]) -> list[T]:
    """Return what `work` returns for consecutive spans of rows, in order; they do not depend on the threads."""
    rows = _rows_per_block(shape)
    blocks = max(1, _SPAN_ELEMENTS // (rows * shape[1]), -(-n_rows // (rows * _PARTS)))
    spans = [(start, min(start + blocks * rows, n_rows)) for start in range(0, n_rows, blocks * rows)]
    threads = min(torch.get_num_threads(), len(spans))
    if threads == 1 or n_rows * shape[0] * shape[1] < _WORTH_A_THREAD:
        return [work(*span) for span in spans]
    from concurrent.futures import ThreadPoolExecutor

    # The library's own threads would only compete with these.
    with _blas().limit(limits=1), ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, *zip(*spans, strict=True)))


def _sum(parts: list[Array]) -> torch.Tensor:
    total = parts[0]
    for part in parts[1:]:
        total += part
    return torch.from_numpy(total)


@lru_cache(maxsize=1)
def _blas() -> Any:  # noqa: ANN401 - threadpoolctl has no types
    """Return the controller of NumPy's BLAS; to look for the library takes a millisecond."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")
