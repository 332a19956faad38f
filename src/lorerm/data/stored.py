"""Preferences that stay on disk, and come in chunks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lorerm.data.preferences import Preferences, ReadingSummary
from lorerm.data.table import read_tables

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class StoredPreferences:
    """What `Preferences.write_parquet` wrote: an iterable of `Preferences` of some rows each, in the file's order.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    DataError
        The file is missing or not in the normal form; or, when it is gone through, damaged.
    """

    path: Path

    def __post_init__(self) -> None:
        read_tables(self.path)

    def __iter__(self) -> Iterator[Preferences]:
        """Read the file from its beginning."""
        for table in read_tables(self.path):
            yield Preferences(table, ReadingSummary(len(table), len(table)))
