"""A matrix that stays on disk: rows of one tensor per safetensors file, read when they are asked for.

Rows are read into buffers rather than mapped: what has been read of a mapped file counts as resident memory for as
long as the system pleases, and a file that was cut off ends the process instead of raising an error.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lorerm.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

# Elements from which on a matrix stays on disk: 1 GiB as float32.
LARGE = 1 << 28
# Names that the format gives to the dtypes that embeddings come in, and torch's.
DTYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
_LONGEST_HEADER = 100_000_000


class UnreadableFileError(DataError):
    """One of the files is missing, cut off, or not what it should be."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path} {problem}", "make it again, or give a safetensors file with one float matrix")
        self.path = path


class _Part(NamedTuple):
    path: Path
    start: int  # of the tensor's bytes in the file
    shape: tuple[int, ...]
    dtype: str


class StoredMatrix:
    """The matrix [R, D] whose rows are those of several files, one file after the other.

    Indexing with a slice, or int [m] rows in any order, reads these rows: a torch tensor [m, D] in the dtype of the
    files. Nothing is kept in memory, and no file is kept open.

    Parameters
    ----------
    paths
        Safetensors files.
    name
        The tensor's name in each.

    Raises
    ------
    UnreadableFileError
        If a file cannot be read, or its tensor is not a float matrix that goes with the others; later, too, when rows
        are read of a file that is no longer there.
    """

    ndim = 2

    def __init__(self, paths: Sequence[str | Path], name: str) -> None:
        self._parts = [_read_part(Path(path), name) for path in paths]
        first = self._parts[0]
        for part in self._parts:
            if len(part.shape) != 2 or part.shape[1] != first.shape[1] or part.dtype != first.dtype:
                raise UnreadableFileError(part.path, f"holds {part.dtype} {list(part.shape)}, no part of one matrix")
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

    def __getitem__(self, index: slice | np.ndarray[Any, np.dtype[np.int64]] | torch.Tensor) -> torch.Tensor:
        """Read rows: a slice of them, or those numbered in `index` (int [m])."""
        import torch

        rows = np.arange(len(self))[index] if isinstance(index, slice) else np.asarray(index, dtype=np.int64)
        read = torch.empty(len(rows), self.shape[1], dtype=self.dtype)
        buffer = memoryview(read.view(torch.uint8).numpy().reshape(-1).data)
        length = self.shape[1] * read.element_size()
        # Rows that follow each other are read at once.
        bounds = [*np.flatnonzero(np.diff(rows, prepend=-2) != 1).tolist(), len(rows)]
        for begin, end in pairwise(bounds):
            self._read(int(rows[begin]), buffer[begin * length : end * length], length)
        return read

    def _read(self, row: int, buffer: memoryview, length: int) -> None:
        """Fill the buffer with rows of `length` bytes, from `row` on."""
        place = bisect_right(self._ends, row)
        while buffer:
            part, end = self._parts[place], self._ends[place]
            here = buffer[: (end - row) * length]
            offset = part.start + (row - end + part.shape[0]) * length
            try:
                with part.path.open("rb") as file:
                    file.seek(offset)
                    got = file.readinto(here)
            except OSError as error:
                raise UnreadableFileError(part.path, f"cannot be read ({error.strerror})") from error
            if got < len(here):
                raise UnreadableFileError(part.path, "ends too early")
            buffer, row, place = buffer[len(here) :], end, place + 1


def _read_part(path: Path, name: str) -> _Part:
    header, start = _read_header(path)
    try:
        entry = header[name]
        shape, dtype, (begin, end) = tuple(entry["shape"]), entry["dtype"], entry["data_offsets"]
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableFileError(path, f"holds no tensor {name!r}") from error
    if dtype not in DTYPES:
        raise UnreadableFileError(path, f"holds numbers of type {dtype}")
    if start + end > path.stat().st_size:
        raise UnreadableFileError(path, "ends too early")
    return _Part(path, start + begin, shape, dtype)


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    """Return what the file's tensors are, and where their bytes begin."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, _LONGEST_HEADER)))
        header.pop("__metadata__", None)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UnreadableFileError(path, "is not a readable safetensors file") from error
    return header, 8 + length
