"""Which files there are to read: one, those of a folder, or those of a folder that is partitioned as Hive does it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from lorerm.errors import DataError

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".csv", ".csv.gz", ".parquet")
"""The files that can be read, by the ends of their names."""

_NULL = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class DataFile:
    """A file, and what the folders that it stands in say of all its rows."""

    path: Path
    values: Mapping[str, str | None] = field(default_factory=dict)
    """columns by name, for instance `{"user_id": "u7"}` in a folder `user_id=u7`; None is a null"""


def data_files(path: Path) -> list[DataFile]:
    """List the files to read for a path.

    Parameters
    ----------
    path
        A file, or a folder. Of a folder, its own files; or, if it has none, those in its folders named `column=value`
        (as Hive, Spark and `pyarrow.dataset` partition data), and in folders of this kind within them.

    Returns
    -------
    list of DataFile
        In the order of their names.

    Raises
    ------
    DataError
        The folder holds no file to read.
    """
    if not path.is_dir():
        return [DataFile(path)]
    files = list(_own_files(path, {})) or list(_partitions(path, {}))
    if not files:
        raise DataError(
            f"folder {path} holds neither a saved data set nor a file ending in {', '.join(SUFFIXES)}", "check the path"
        )
    return files


def known_suffix(path: Path) -> str | None:
    """Give the known suffix that the name ends in."""
    return next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), None)


def _own_files(folder: Path, values: Mapping[str, str | None]) -> Iterator[DataFile]:
    for entry in sorted(folder.iterdir()):
        if known_suffix(entry) and not entry.name.startswith("."):
            yield DataFile(entry, values)


def _partitions(folder: Path, values: Mapping[str, str | None]) -> Iterator[DataFile]:
    for entry in sorted(folder.iterdir()):
        column, separator, value = entry.name.partition("=")
        if separator and column and entry.is_dir():
            within = {**values, column: None if value == _NULL else unquote(value)}
            yield from _own_files(entry, within)
            yield from _partitions(entry, within)
