"""What a log format is made of, and what its reader needs: opened files and the choice of columns."""

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
"""The end that the name of a gzipped file has after the end of its format."""

BATCH = 1000
"""Rows of columnar formats that are turned into Python objects at a time, which bounds memory."""


class Row(NamedTuple):
    """One row of an input."""

    source: str
    """the name of the input in errors"""
    number: int
    """from 1; in files with one row a line, the number of the line"""
    record: object
    """a dict with a value for each column, if the input is valid"""


@dataclass(frozen=True)
class Format:
    """One log format. A module of this package has its format in the constant `FORMAT`."""

    read: Callable[[Path, str], Iterator[Row]]
    """returns the rows of a file or folder; also takes the user column, so that columns not needed are not read"""
    suffixes: tuple[str, ...] = ()
    """the ends of the names of its files, in lower case; before `.gz` where a file is gzipped"""
    folder_markers: tuple[str, ...] = ()
    """for a format that stores a folder: files of which at least one is in every such folder"""

    def recognises(self, path: Path) -> bool:
        """Return whether a file (by its name) or folder (by the files in it) is of this format."""
        if path.is_dir():
            return any((path / marker).exists() for marker in self.folder_markers)
        return path.name.lower().removesuffix(COMPRESSED).endswith(self.suffixes)


def open_binary(path: Path) -> BinaryIO:
    """Open a file for reading, decompressed where its name ends in `.gz`."""
    return cast("BinaryIO", gzip.open(path)) if path.name.lower().endswith(COMPRESSED) else path.open("rb")


def open_text(path: Path) -> TextIO:
    """Open a UTF-8 file, with or without a byte-order mark, line ends as they are; decompressed where it is gzipped."""
    return io.TextIOWrapper(open_binary(path), encoding="utf-8-sig", newline="")


def needed_columns(found: list[str], user_column: str) -> list[str]:
    """Return the columns that the data contract reads; all of them when one is missing, so that an error lists them."""
    if not {user_column, "prompt"} <= set(found) or not {"rejected", "responses"} & set(found):
        return found
    return [name for name in found if name in COLUMNS or name == user_column]
