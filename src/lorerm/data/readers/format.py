"""`Format`, the interface of a file format, and functions for its reader: open files, select columns."""

from __future__ import annotations

import gzip
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, TextIO, cast

from lorerm.data.schema import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

COMPRESSED = ".gz"
"""The suffix of gzipped files; it follows the suffix of the format."""

BATCH = 1000
"""Number of rows of a table that are converted to Python objects at a time; it bounds memory."""


class Row(NamedTuple):
    """One row of an input."""

    source: str
    """the name of the input in errors"""
    number: int
    """number of the row, from 1; in files with one row on each line, the number of the line"""
    record: object
    """column -> value, a dict if the input is valid"""


@dataclass(frozen=True)
class Format:
    """A file format of feedback. Each module of this package defines one in its constant `FORMAT`."""

    read: Callable[[Path, str], Iterator[Row]]
    """returns the rows of a file or folder; its second argument is the user column, so that it can skip columns that
    are not needed"""
    suffixes: tuple[str, ...] = ()
    """suffixes of the format's file names, in lower case, without `.gz`"""
    folder_markers: tuple[str, ...] = ()
    """if the format stores data as folders: file names, at least one of which is in every such folder"""

    def recognises(self, path: Path) -> bool:
        """Return True if a file (by its name) or a folder (by the files in it) is in this format."""
        if path.is_dir():
            return any((path / marker).exists() for marker in self.folder_markers)
        return path.name.lower().removesuffix(COMPRESSED).endswith(self.suffixes)


def open_binary(path: Path) -> BinaryIO:
    """Open a file for reading bytes. It is decompressed if its name ends in `.gz`."""
    return cast("BinaryIO", gzip.open(path)) if path.name.lower().endswith(COMPRESSED) else path.open("rb")


def open_text(path: Path) -> TextIO:
    """Open a UTF-8 file for reading text. It is decompressed if its name ends in `.gz`.

    A byte-order mark is skipped. Line ends are kept unchanged.
    """
    return io.TextIOWrapper(open_binary(path), encoding="utf-8-sig", newline="")


def needed_columns(found: list[str], user_column: str) -> list[str]:
    """Return those of the columns `found` that are used: the user column, and those in `lorerm.data.schema.COLUMNS`.

    If a required column is missing, return all columns, so that the error can list them.
    """
    if not {user_column, "prompt"} <= set(found) or not {"rejected", "responses"} & set(found):
        return found
    return [name for name in found if name in COLUMNS or name == user_column]
