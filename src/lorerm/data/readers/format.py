"""`Format`, the interface of a file format, and functions for its reader: open files, select columns."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TextIO, cast

import numpy as np

from lorerm.data.feedback import all_kinds, known_columns, looks_like_feedback
from lorerm.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
"""The suffixes of compressed files; they follow the suffix of the format."""

BATCH = 1000
"""Number of rows of a table that are converted to Python objects at a time. It limits memory."""


class Row(NamedTuple):
    """One row of an input."""

    source: str
    """the name of the input in errors"""
    number: int
    """number of the row, from 1; in files with one row on each line, the number of the line"""
    record: object
    """column -> value, a dict if the input is valid"""
    remark: str | None = None
    """a sentence, without its full stop, about what looks wrong in the row; a warning shows the sentence with the
    number of such rows"""


@dataclass(frozen=True)
class Format:
    """A file format of feedback. Each module of this package defines one in its constant `FORMAT`."""

    read: Callable[[Path, str], Iterator[Row]]
    """returns the rows of a file or folder; its second argument is the user column, so that it can skip columns that
    are not needed"""
    suffixes: tuple[str, ...] = ()
    """suffixes of the format's file names, in lower case, without those of compressed files"""
    folder_markers: tuple[str, ...] = ()
    """if the format stores data as folders: file names, at least one of which is in every such folder"""

    def recognises(self, path: Path) -> bool:
        """Return True if a file (by its name) or a folder (by the files in it) is in this format."""
        if path.is_dir():
            return any((path / marker).exists() for marker in self.folder_markers)
        return uncompressed_name(path).endswith(self.suffixes)


def uncompressed_name(path: Path) -> str:
    """Return the name of a file in lower case, without the suffix of a compressed file."""
    name = path.name.lower()
    return name.removesuffix(next((suffix for suffix in COMPRESSED if name.endswith(suffix)), ""))


def open_binary(path: Path) -> BinaryIO:
    """Open a file for reading bytes. It is decompressed if its name ends in a suffix of `COMPRESSED`."""
    name = path.name.lower()
    if name.endswith(".zst"):
        import pyarrow as pa

        return cast("BinaryIO", pa.input_stream(str(path), compression="zstd"))
    if name.endswith(".gz"):
        return cast("BinaryIO", gzip.open(path))
    if name.endswith(".bz2"):
        return cast("BinaryIO", bz2.open(path))
    if name.endswith(".xz"):
        return cast("BinaryIO", lzma.open(path))
    return path.open("rb")


def open_text(path: Path) -> TextIO:
    """Open a UTF-8 file for reading text. It is decompressed as by `open_binary`.

    A byte-order mark is skipped. Line ends are kept unchanged.
    """
    return io.TextIOWrapper(open_binary(path), encoding="utf-8-sig", newline="")


def needed_columns(found: list[str], user_column: str) -> list[str]:
    """Return those of the columns `found` that are read, or that look like feedback and are counted as not used.

    If a required column is missing, return all columns, so that the error can list them.
    """
    if not {user_column, "prompt"} <= set(found) or not any(kind.columns[-1] in found for kind in all_kinds()):
        return found
    known = known_columns(user_column)
    return [name for name in found if name in known or looks_like_feedback(name)]


def narrow_ids(types: Mapping[str, object], user_column: str) -> dict[str, type[np.floating[Any]]]:
    """Return NumPy's types of the columns of ids that are floats of less than 64 bits.

    Python's floats do not show how many digits such a column could hold; see `lorerm.data.ids`. `types` are the types
    of all columns, in any library.
    """
    kinds: dict[str, type[np.floating[Any]]] = {
        "halffloat": np.float16,
        "float16": np.float16,
        "float": np.float32,
        "float32": np.float32,
    }
    named = {column: str(types.get(column)).lower() for column in (user_column, "prompt_id")}
    return {column: kinds[name] for column, name in named.items() if name in kinds}


def with_types(record: dict[str, Any], kinds: Mapping[str, type[np.floating[Any]]]) -> dict[str, Any]:
    """Return a row in which the values of some columns have the types that `narrow_ids` found."""
    for column, kind in kinds.items():
        if isinstance(record[column], float):
            record[column] = kind(record[column])
    return record


def check_columns(found: list[str], user_column: str, source: str | Path) -> None:
    """Raise `DataError` if one of the columns that are read occurs twice."""
    repeated = next((name for name in found if found.count(name) > 1 and name in known_columns(user_column)), None)
    if repeated is not None:
        raise DataError(
            f'there are two columns "{repeated}"', "rename or remove one of the two", file=source, column=repeated
        )
