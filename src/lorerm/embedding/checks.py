"""Checks of an embedding matrix before it is used: finite numbers of a usable scale, and responses that look the same.

Training computes in float32, which has about 7 digits. One row that is far larger than the others (a failed request,
uninitialised memory, the fill value of a mask) takes these digits from all rows, so such a matrix is refused. If both
responses of a comparison have the same embedding, no reward function can predict the comparison.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from lorerm.embedding.matrices import StoredMatrix, as_tensor
from lorerm.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from lorerm.arrays import Floats, Ints
    from lorerm.data.comparisons import Comparisons
    from lorerm.embedding.matrices import Matrix

LARGEST = 1e15
"""Largest magnitude of a usable value: the sum of 10,000 squares of such values still fits into float32 (3e38)."""
# If the largest value of a whole matrix is smaller than this, squares of its values vanish in float32.
_SMALLEST = 1e-15
# A row's size is its largest magnitude. A row is refused if its size exceeds the typical (median) size by the first
# factor: the features are then scaled to this row alone, and nothing is learnt from the other rows. A warning reports
# a row whose size exceeds the typical size by the second factor. Rows of language models differ by a factor of about
# 10. If there are few rows, none of them is typical: the third factor then replaces the first.
_REFUSED_RATIO, _REPORTED_RATIO, _REFUSED_OF_FEW = 1e2, 20.0, 1e6
# A row that is smaller than the typical size by this factor cannot come from the same model. A row of zeros only leads
# to a warning, because it may be an encoder's embedding of an empty text.
_TINY_RATIO = 1e-8
# The matrix is refused as constant if each feature varies by less than this share of its size: less than 16 steps of
# float32.
_CONSTANT = 1e-6
# It is an error if the two responses have the same embedding in at least this share of the comparisons. With fewer
# than `_FEW` comparisons, it is an error only in training: a user's first comparisons may all look the same by chance.
_NEARLY_ALL, _FEW = 0.9, 10
# Number of rows that an error or a warning names.
_NAMED = 5
# Number of elements checked at a time, to limit the memory for a matrix on disk (16 MiB as float32).
_CHECKED_ELEMENTS = 1 << 22

_REMEDY = "embed these responses again, or remove their comparisons"
_KEEP_DIFFERENCES = (
    "choose a chat template, a maximum length or an encoder that keeps what differs (the built-in encoder reads the "
    "last turn only)"
)


class _Rows(Protocol):
    """A matrix whose rows can be read by slices and by vectors of row numbers."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice | torch.Tensor, /) -> torch.Tensor: ...


def check_finite(matrix: Matrix, argument: str = "responses") -> None:
    """Raise `DataError` if a value of a matrix is NaN, infinite or larger than `LARGEST`.

    The error names `argument` and the first such rows.
    """
    sizes = row_sizes(matrix)
    _check_finite(sizes, str, argument)
    _refuse(np.flatnonzero(sizes > LARGEST), str, f"values beyond {LARGEST:g}", _REMEDY, argument)


def check_scale(responses: Matrix, comparisons: Comparisons) -> None:
    """Check that the rows of a matrix [R, D] are finite, and that the rows in use have a usable scale.

    Raises `DataError`, which names rows, if

    - a value is NaN or infinite, or most rows have values so large (`LARGEST`) or so small that float32 cannot hold
      their squares;
    - a row is larger than a typical row by a factor of 100 (a million if there are fewer than 10 rows), or smaller by a
      factor of 100 million;
    - all of at least 10 rows are equal, up to rounding in float32.

    Rows that no comparison uses need only be finite.
    """

    def name(row: int) -> str:
        return f"{row} ({comparisons.describe_response(row)})"

    sizes = row_sizes(responses)
    _check_finite(sizes, name)
    used = _rows_in_use(comparisons, len(responses))
    sizes = sizes[used]
    if np.median(sizes) > LARGEST:
        raise DataError(
            f"{(sizes > LARGEST).sum():,} of {used.size:,} embeddings have values up to {sizes.max():.1e}, whose "
            "squares do not fit into float32",
            "divide the whole matrix by a power of ten",
            argument="responses",
        )
    if 0 < sizes.max() < _SMALLEST:
        raise DataError(
            f"the largest value of responses is {sizes.max():.1e}, and the squares of such values vanish in float32",
            "multiply the whole matrix by a power of ten",
            argument="responses",
        )
    typical = _typical(sizes)
    _refuse(
        used[sizes > (_REFUSED_RATIO if len(used) >= _FEW else _REFUSED_OF_FEW) * typical],
        name,
        f"values up to {sizes.max():.1e}, while {typical:.1e} is the largest value of a typical row",
        _REMEDY,
    )
    _refuse(
        used[(sizes > 0) & (sizes < _TINY_RATIO * typical)],
        name,
        f"no value larger than {_TINY_RATIO * typical:.1e}, while {typical:.1e} is the largest value of a typical row",
        _REMEDY,
    )
    if len(used) >= _FEW and _is_constant(responses, used):
        raise DataError(
            f"the {len(used):,} embeddings in use are all the same, up to rounding",
            f"{_KEEP_DIFFERENCES}; if only an offset is large, subtract it before the matrix is stored as float32",
            argument="responses",
        )


def scale_warnings(responses: Matrix, comparisons: Comparisons) -> list[str]:
    """Return sentences about rows whose scale is unusual, but usable; `check_scale` refuses all others."""
    sizes = row_sizes(responses)
    used = _rows_in_use(comparisons, len(responses))
    sizes = sizes[used]
    typical, sentences = _typical(sizes), []
    large, zero = used[sizes > _REPORTED_RATIO * typical], used[sizes == 0]
    if len(used) < _FEW:
        return []
    if large.size:
        sentences.append(
            f"Embeddings that are more than {_REPORTED_RATIO:.0f} times as large as a typical one: {large.size:,} of "
            f"{used.size:,} (rows {_listed(large, str)}). Check how they were computed; they dominate the training."
        )
    if zero.size:
        sentences.append(
            f"Embeddings in which every value is 0: {zero.size:,} of {used.size:,} (rows {_listed(zero, str)}). Check "
            "whether the encoder failed for these responses."
        )
    return sentences


def row_sizes(responses: Matrix) -> Floats:
    """Return the largest magnitude of each row, float64 [R]; NaN for a row that contains NaN."""
    import torch

    sizes = np.empty(len(responses), dtype=np.float64)
    n_rows = max(1, _CHECKED_ELEMENTS // responses.shape[1])
    for start in range(0, len(responses), n_rows):
        rows = as_tensor(responses[start : start + n_rows])
        rows = rows if rows.is_floating_point() else rows.double()
        sizes[start : start + n_rows] = torch.linalg.vector_norm(rows, torch.inf, dim=1).double().cpu().numpy()
    return sizes


def equal_rows(matrix: _Rows, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return bool [n]: whether row `left[i]` equals row `right[i]` in float32, for int64 row numbers [n].

    A checksum of each row's bits finds the likely pairs; only those are compared in full.
    """
    import torch

    step = max(1, _CHECKED_ELEMENTS // matrix.shape[1])
    # The result is allocated first: small arrays allocated between the blocks would prevent the reuse of their memory.
    checksum = torch.empty(len(matrix), dtype=torch.int32)
    for first in range(0, len(matrix), step):
        block = slice(first, first + step)
        # Adding 0 turns -0 into 0, which is equal to it but has other bits.
        checksum[block] = (matrix[block].float() + 0.0).view(torch.int32).sum(dim=1, dtype=torch.int32).cpu()
    equal = checksum[left] == checksum[right]
    for some in torch.split(torch.nonzero(equal)[:, 0], step):
        equal[some] = (matrix[left[some]].float() == matrix[right[some]].float()).all(dim=1).cpu()
    return equal


def check_usable(responses: Matrix, comparisons: Comparisons) -> list[str]:
    """Check that responses can be told apart; return sentences about rows of unusual scale, and about ties.

    Raises `DataError` if nearly all of at least 10 comparisons have two responses with the same embedding.
    """
    n_same = count_same(responses, comparisons)
    check_distinguishable(n_same, len(comparisons))
    return [*scale_warnings(responses, comparisons), *same_warnings(n_same, len(comparisons))]


def count_same(responses: Matrix, comparisons: Comparisons) -> int:
    """Return the number of comparisons whose two responses have the same embedding."""
    import torch

    chosen, rejected = (torch.from_numpy(rows) for rows in comparisons.rows())
    matrix = responses if isinstance(responses, StoredMatrix) else as_tensor(responses)
    return int(equal_rows(matrix, chosen, rejected).sum())


def same_warnings(n_same: int, n_comparisons: int) -> list[str]:
    """Return a sentence with the number of comparisons whose two responses have the same embedding, unless it is 0."""
    if not n_same:
        return []
    return [
        f"Comparisons whose two responses have the same embedding: {n_same:,} of {n_comparisons:,}. They look the same "
        "to the encoder, so that no model can predict them; each counts as a tie. Check that the chat template, the "
        "maximum length and the encoder itself (the built-in one reads the last turn only) keep what differs."
    ]


def check_distinguishable(n_same: int, n_comparisons: int, *, fewest: int = _FEW) -> None:
    """Raise `DataError` if nearly all of at least `fewest` comparisons have two responses with the same embedding."""
    if n_comparisons < fewest or n_same < _NEARLY_ALL * n_comparisons:
        return
    raise DataError(
        f"the two responses have the same embedding in {n_same:,} of {n_comparisons:,} comparisons, so that no model "
        "can predict which one was chosen",
        f"{_KEEP_DIFFERENCES}, or check the row numbers of imported comparisons",
        argument="responses",
    )


def _rows_in_use(comparisons: Comparisons, n_rows: int) -> Ints:
    """Return the rows that comparisons use, increasing; a mask takes less memory than sorting the comparisons."""
    used = np.zeros(n_rows, dtype=bool)
    for rows in comparisons.rows():
        used[rows] = True
    return np.flatnonzero(used)


def _typical(sizes: Floats) -> float:
    """Return the lower median of the sizes that are not 0; 0 if all are 0."""
    positive = np.sort(sizes[sizes > 0])
    return float(positive[(len(positive) - 1) // 2]) if len(positive) else 0.0


def _check_finite(sizes: Floats, name: Callable[[int], str], argument: str = "responses") -> None:
    _refuse(np.flatnonzero(~np.isfinite(sizes)), name, "NaN or infinite values", _REMEDY, argument)


def _refuse(rows: Ints, name: Callable[[int], str], problem: str, remedy: str, argument: str = "responses") -> None:
    """Raise `DataError` if there are any `rows`; the error names the first of them, and their number."""
    if rows.size:
        of, has = ("row", "has") if rows.size == 1 else ("rows", "have")
        raise DataError(f"{argument} {of} {_listed(rows, name)} {has} {problem}", remedy, argument=argument)


def _listed(rows: Ints, name: Callable[[int], str]) -> str:
    more = f" and {rows.size - _NAMED:,} more" if rows.size > _NAMED else ""
    return ", ".join(name(int(row)) for row in rows[:_NAMED]) + more


def _is_constant(responses: Matrix, used: Ints) -> bool:
    """Return whether each feature has nearly the same value in all rows in use."""
    import torch

    low, high = None, None
    n_rows = max(1, _CHECKED_ELEMENTS // responses.shape[1])
    for start in range(0, len(used), n_rows):
        block = used[start : start + n_rows]
        rows = as_tensor(responses[block]).double()
        least, most = torch.aminmax(rows, dim=0)
        low = least if low is None else torch.minimum(low, least)
        high = most if high is None else torch.maximum(high, most)
        # Later rows can only increase the range.
        if bool((high - low > _CONSTANT * torch.maximum(high.abs(), low.abs())).any()):
            return False
    return True
