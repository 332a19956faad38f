"""Find the files of an input: a file, the files of a folder, or those of a folder with Hive partitions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from lorerm.data.readers import find_format, known_suffixes
from lorerm.errors import DataError

_NULL = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class DataFile:
    """A file to read, and the columns that the names of its folders give to all its rows."""

    path: Path
    """a file, or a folder of a format that stores folders"""
    values: Mapping[str, str | None] = field(default_factory=dict)
    """column -> value, for instance `{"user_id": "u7"}` in a folder `user_id=u7`; None is a null"""


def data_files(path: Path) -> list[DataFile]:
    """List the files to read for a path.

    Parameters
    ----------
    path
        A file, or a folder that one format stores as a whole: returned as it is. Of any other folder, the files in it;
        if there are none, those in its folders named `column=value` (as Hive, Spark and `pyarrow.dataset` partition
        data), and in such folders within them.

    Returns
    -------
    list of DataFile
        In the order of their names.

    Raises
    ------
    DataError
        The folder holds no file of a known format.
    """
    if not path.is_dir() or find_format(path) is not None:
        return [DataFile(path)]
    files = list(_files_in(path, {})) or list(_partitions(path, {}))
    if not files:
        raise DataError(
            f"the folder is no saved data set, and holds no file ending in {known_suffixes()}",
            "check the path",
            file=path,
        )
    return files


def _files_in(folder: Path, values: Mapping[str, str | None]) -> Iterator[DataFile]:
    for entry in sorted(folder.iterdir()):
        if not entry.is_dir() and not entry.name.startswith(".") and find_format(entry) is not None:
            yield DataFile(entry, values)


def _partitions(folder: Path, values: Mapping[str, str | None]) -> Iterator[DataFile]:
    for entry in sorted(folder.iterdir()):
        column, separator, value = entry.name.partition("=")
        if separator and column and entry.is_dir():
            within = {**values, column: None if value == _NULL else unquote(value)}
            yield from _files_in(entry, within)
            yield from _partitions(entry, within)
