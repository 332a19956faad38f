"""Matrices of embeddings, in memory or on disk: reading of rows, conversion and checks.

`StoredMatrix` reads rows into buffers rather than mapping the file: pages of a mapped file count as resident memory
for as long as the system keeps them, and a mapped file that was cut off ends the process instead of raising an error.
"""

from __future__ import annotations

import json
import warnings
from bisect import bisect_right
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from lorerm.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from numpy.typing import NDArray

    from lorerm.arrays import Floats32, Ints

Matrix: TypeAlias = "NDArray[Any] | torch.Tensor | StoredMatrix"
"""A matrix of floats in any of the forms that `EmbeddedPreferences` takes."""

# A stored matrix of at least so many elements stays on disk: 1 GiB as float32.
LARGE = 1 << 28
# The safetensors names of the dtypes of embeddings, and torch's names.
DTYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
# The limit that the safetensors library itself puts on a file's header, in bytes.
_LONGEST_HEADER = 100_000_000
# Elements checked for NaN at a time: bounds the memory of the check where the matrix is on disk (16 MiB as float32).
_CHECKED_ELEMENTS = 1 << 22


class UnreadableFileError(DataError):
    """A file that is missing, cut off, or does not hold the expected tensor."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(problem, "write it again, or give a safetensors file with one float matrix", file=path)
        self.path = path


class _Part(NamedTuple):
    path: Path
    start: int  # of the tensor's bytes in the file
    shape: tuple[int, ...]
    dtype: str


class StoredMatrix:
    """A matrix [R, D] on disk: the rows of the tensor `name` in several safetensors files, one file after the other.

    Indexing with a slice, or with int [m] row numbers in any order, reads these rows: a torch tensor [m, D] in the
    dtype of the files. Nothing is kept in memory, and no file stays open.

    It is an `UnreadableFileError` if a file cannot be read, or its tensor is not a float matrix with the columns and
    dtype of the others; also later, if a file was removed or cut off when its rows are read.
    """

    def __init__(self, paths: Sequence[str | Path], name: str) -> None:
        self._parts = [_read_part(Path(path), name) for path in paths]
        first = self._parts[0]
        for part in self._parts:
            if len(part.shape) != 2 or part.shape[1] != first.shape[1] or part.dtype != first.dtype:
                raise UnreadableFileError(
                    part.path,
                    f"it holds {part.dtype} {list(part.shape)}, which is no part of a matrix of {first.dtype} with "
                    f"{first.shape[-1]} columns",
                )
        self._ends = list(accumulate(part.shape[0] for part in self._parts))
        self.shape = (self._ends[-1], first.shape[1])

    @property
    def dtype(self) -> torch.dtype:
        """The torch dtype of the rows."""
        import torch

        dtype: torch.dtype = getattr(torch, DTYPES[self._parts[0].dtype])
        return dtype

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.shape[0]

    def __getitem__(self, index: slice | Ints | torch.Tensor) -> torch.Tensor:
        """Read rows: a slice of them, or those numbered in `index` (int [m])."""
        import torch

        rows = np.arange(len(self))[index] if isinstance(index, slice) else np.asarray(index, dtype=np.int64)
        read = torch.empty(len(rows), self.shape[1], dtype=self.dtype)
        buffer = memoryview(read.view(torch.uint8).numpy().reshape(-1).data)
        length = self.shape[1] * read.element_size()
        # Consecutive rows are read at once.
        bounds = [*np.flatnonzero(np.diff(rows, prepend=-2) != 1).tolist(), len(rows)]
        for begin, end in pairwise(bounds):
            self._read(int(rows[begin]), buffer[begin * length : end * length], length)
        return read

    def _read(self, row: int, buffer: memoryview, length: int) -> None:
        """Fill the buffer with rows of `length` bytes each, from `row` on."""
        number = bisect_right(self._ends, row)
        while buffer:
            part, end = self._parts[number], self._ends[number]
            here = buffer[: (end - row) * length]
            offset = part.start + (row - end + part.shape[0]) * length
            try:
                with part.path.open("rb") as file:
                    file.seek(offset)
                    got = file.readinto(here)
            except OSError as error:
                raise UnreadableFileError(part.path, f"the file cannot be read ({error.strerror})") from error
            if got < len(here):
                raise UnreadableFileError(part.path, "the file is cut off")
            buffer, row, number = buffer[len(here) :], end, number + 1


def _read_part(path: Path, name: str) -> _Part:
    """Read from a file's header where its tensor `name` begins, its shape and its dtype."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            entry = json.loads(file.read(min(length, _LONGEST_HEADER))).get(name)
    except (OSError, ValueError, AttributeError) as error:
        raise UnreadableFileError(path, "it is not a readable safetensors file") from error
    try:
        shape, dtype, (begin, end) = tuple(entry["shape"]), entry["dtype"], entry["data_offsets"]
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableFileError(path, f"it holds no tensor {name!r}") from error
    if dtype not in DTYPES:
        raise UnreadableFileError(path, f"it holds numbers of type {dtype}")
    if 8 + length + end > path.stat().st_size:
        raise UnreadableFileError(path, "the file is cut off")
    return _Part(path, 8 + length + begin, shape, dtype)


def as_matrix(values: Any) -> Matrix:  # noqa: ANN401 - any object that looks like a matrix
    """Return a matrix as it is or, from a pandas frame, Arrow table or column of Arrow lists, as a NumPy array.

    Memory is shared where the layout allows it: for pandas frames of one dtype, and Arrow's lists of one length. An
    Arrow column with a missing list, or with lists of different lengths, is a `DataError`.
    """
    if hasattr(values, "combine_chunks"):
        values = values.combine_chunks()
    kind = str(getattr(values, "type", ""))
    if kind.startswith(("fixed_size_list", "list", "large_list")):
        return _from_arrow_lists(values)
    if hasattr(values, "column_names"):  # an Arrow table: one column per feature
        return np.column_stack([column.to_numpy() for column in values.columns])
    return values.to_numpy() if hasattr(values, "to_numpy") else values  # type: ignore[no-any-return]


def _from_arrow_lists(values: Any) -> NDArray[Any]:  # noqa: ANN401 - an Arrow array of lists
    if values.null_count:
        # Flattening would drop it, and the rows after it would move up.
        row = values.is_null().index(True).as_py()
        raise DataError(f"responses row {row} is missing", "give every row", argument="responses")
    flat: NDArray[Any] = values.flatten().to_numpy(zero_copy_only=False)
    if not str(values.type).startswith("fixed_size_list"):
        lengths = np.diff(values.offsets.to_numpy())
        if len(lengths) and (lengths != lengths[0]).any():
            row = int(np.flatnonzero(lengths != lengths[0])[0])
            raise DataError(
                f"responses row {row} has {lengths[row]} numbers, row 0 has {lengths[0]}",
                "give rows of one length",
                argument="responses",
            )
    return flat.reshape(len(values), -1)


def as_tensor(values: Matrix | Sequence[float]) -> torch.Tensor:
    """Return numbers as a tensor to read from, which shares their memory where possible; a stored matrix is read."""
    import torch

    if isinstance(values, StoredMatrix):
        return values[:]
    with warnings.catch_warnings():
        # torch warns of arrays that are read-only, as those of a mapped file; the tensor is never written to.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable", category=UserWarning)
        return torch.as_tensor(values).detach()


def as_reference(reference: Matrix, dimension: int) -> Floats32:
    """Return a reward head of any float dtype, [D] or [1, D], as float32 [D].

    It is a `DataError` if it does not have `dimension` entries, or one is NaN or infinite.
    """
    head: Floats32 = as_tensor(reference).float().cpu().numpy().reshape(-1)
    if head.size == dimension and np.isfinite(head).all():
        return head
    raise DataError(
        f"reference has {head.size} entries, responses have dimension {dimension}"
        if head.size != dimension
        else "reference holds NaN or infinite values",
        "give the reward head of the model that made the embeddings, as a finite vector [D]",
        argument="reference",
    )


def check_finite(responses: Matrix) -> None:
    """Raise `DataError` if a matrix holds NaN or infinite values; the error names the first such row."""
    import torch

    n_rows = max(1, _CHECKED_ELEMENTS // responses.shape[1])
    for start in range(0, len(responses), n_rows):
        rows = as_tensor(responses[start : start + n_rows])
        # One sum is fast, and not finite if an entry is not; a sum of finite entries can also overflow.
        if bool(rows.sum(dtype=torch.promote_types(rows.dtype, torch.float32)).isfinite()):
            continue
        finite = torch.isfinite(rows).all(dim=1)
        if not bool(finite.all()):
            row = start + int(torch.nonzero(~finite)[0])
            raise DataError(
                f"responses row {row} holds NaN or infinite values",
                "embed that response again, or drop its comparisons",
                argument="responses",
            )
