"""Matrices of embeddings, in memory or on disk: read rows and convert them.

`StoredMatrix` reads rows into buffers and does not map the file into memory, for two reasons. Pages of a mapped file
count as resident memory for as long as the system keeps them. If a mapped file is truncated, reading it ends the
process instead of raising an error.
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
"""A matrix of floats in any of the forms that `EmbeddedPreferences` accepts."""

# A matrix in files stays on disk if it has at least this many elements (1 GiB as float32).
LARGE = 1 << 28
# The supported dtypes of embeddings: their names in safetensors files, and in torch.
DTYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
# Maximum size of a file's header in bytes; the safetensors library has the same limit.
_LONGEST_HEADER = 100_000_000


class UnreadableFileError(DataError):
    """A file is missing or truncated, or does not contain the expected tensor."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(problem, "write the file again, or give a safetensors file with one float matrix", file=path)
        self.path = path


class _Part(NamedTuple):
    path: Path
    start: int  # offset of the tensor's first byte in the file
    shape: tuple[int, ...]
    dtype: str


class StoredMatrix:
    """A matrix [R, D] on disk: the rows of the tensor `name` in several safetensors files, concatenated.

    Indexing with a slice, or with row numbers (int [m], in any order), reads these rows into a torch tensor [m, D] in
    the dtype of the files. No rows are kept in memory, and no file stays open.

    Raises `UnreadableFileError` if a file cannot be read, or if the tensors are not float matrices with equal dtypes
    and numbers of columns. Indexing raises it too, if a file has been removed or truncated since.
    """

    def __init__(self, paths: Sequence[str | Path], name: str) -> None:
        self._parts = [_read_part(Path(path), name) for path in paths]
        first = self._parts[0]
        for part in self._parts:
            if len(part.shape) != 2 or part.shape[1] != first.shape[1] or part.dtype != first.dtype:
                raise UnreadableFileError(
                    part.path,
                    f"the tensor has dtype {part.dtype} and shape {list(part.shape)}, expected a matrix of "
                    f"{first.dtype} with {first.shape[-1]} columns",
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
        """Read the rows of a slice, or the rows whose numbers are in `index` (int [m])."""
        import torch

        rows = np.arange(len(self))[index] if isinstance(index, slice) else np.asarray(index, dtype=np.int64)
        read = torch.empty(len(rows), self.shape[1], dtype=self.dtype)
        buffer = memoryview(read.view(torch.uint8).numpy().reshape(-1).data)
        length = self.shape[1] * read.element_size()
        # `bounds` divides `rows` into runs of consecutive numbers, each of which is read at once. With prepend=-2 the
        # first bound is always 0.
        bounds = [*np.flatnonzero(np.diff(rows, prepend=-2) != 1).tolist(), len(rows)]
        for begin, end in pairwise(bounds):
            self._read(int(rows[begin]), buffer[begin * length : end * length], length)
        return read

    def _read(self, row: int, buffer: memoryview, length: int) -> None:
        """Fill the buffer with consecutive rows of `length` bytes each, starting with row `row`."""
        number = bisect_right(self._ends, row)
        while buffer:
            part, end = self._parts[number], self._ends[number]
            here = buffer[: (end - row) * length]
            # The file has the rows from `end - part.shape[0]` to `end - 1`.
            offset = part.start + (row - end + part.shape[0]) * length
            try:
                with part.path.open("rb") as file:
                    file.seek(offset)
                    got = file.readinto(here)
            except OSError as error:
                raise UnreadableFileError(part.path, f"the file cannot be read ({error.strerror})") from error
            if got < len(here):
                raise UnreadableFileError(part.path, "the file is truncated")
            buffer, row, number = buffer[len(here) :], end, number + 1


def _read_part(path: Path, name: str) -> _Part:
    """Read the offset, shape and dtype of the tensor `name` from the header of a safetensors file."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            entry = json.loads(file.read(min(length, _LONGEST_HEADER))).get(name)
    except (OSError, ValueError, AttributeError) as error:
        raise UnreadableFileError(path, "the file is not a readable safetensors file") from error
    try:
        shape, dtype, (begin, end) = tuple(entry["shape"]), entry["dtype"], entry["data_offsets"]
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableFileError(path, f"the file has no tensor {name!r}") from error
    if dtype not in DTYPES:
        raise UnreadableFileError(path, f"the tensor {name!r} has dtype {dtype}, which is not supported")
    if 8 + length + end > path.stat().st_size:
        raise UnreadableFileError(path, "the file is truncated")
    return _Part(path, 8 + length + begin, shape, dtype)


def as_matrix(values: Any) -> Matrix:  # noqa: ANN401 - any object that looks like a matrix
    """Convert a pandas frame, an Arrow table or an Arrow column of lists to NumPy; return other matrices unchanged.

    Memory is shared if the layout allows it: for pandas frames of one dtype, and for Arrow lists of equal length.

    Raises `DataError` if an Arrow list is missing, or if the lists differ in length.
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
        # Flattening would drop the missing row, and the rows after it would move up.
        row = values.is_null().index(True).as_py()
        raise DataError(f"responses row {row} is missing", "give a list of numbers for every row", argument="responses")
    flat: NDArray[Any] = values.flatten().to_numpy(zero_copy_only=False)
    if not str(values.type).startswith("fixed_size_list"):
        lengths = np.diff(values.offsets.to_numpy())
        if len(lengths) and (lengths != lengths[0]).any():
            row = int(np.flatnonzero(lengths != lengths[0])[0])
            raise DataError(
                f"responses row {row} has {lengths[row]} numbers, row 0 has {lengths[0]}",
                "give rows of equal length",
                argument="responses",
            )
    return flat.reshape(len(values), -1)


def as_tensor(values: Matrix | Sequence[float]) -> torch.Tensor:
    """Return numbers as a read-only tensor that shares their memory if possible; read a stored matrix completely."""
    import torch

    if isinstance(values, StoredMatrix):
        return values[:]
    with warnings.catch_warnings():
        # torch warns about read-only arrays, such as those of a mapped file. The tensor is never written to.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable", category=UserWarning)
        return torch.as_tensor(values).detach()


def as_reference(reference: Matrix, dimension: int) -> Floats32:
    """Convert a reward head, [D] or [1, D] of any float dtype, to float32 [D].

    Raises `DataError` if it does not have `dimension` entries, or if one of them is NaN or infinite.
    """
    head: Floats32 = as_tensor(reference).float().cpu().numpy().reshape(-1)
    if head.size == dimension and np.isfinite(head).all():
        return head
    raise DataError(
        f"reference has {head.size} entries, responses have dimension {dimension}"
        if head.size != dimension
        else "reference has NaN or infinite values",
        "give the reward head of the model that made the embeddings, as a finite vector [D]",
        argument="reference",
    )
