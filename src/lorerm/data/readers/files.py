"""Find the files of an input and read their rows, for all file formats."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from lorerm.data.readers import find_format, known_suffixes
from lorerm.errors import DataError, first_line

if TYPE_CHECKING:
    from lorerm.data.readers.format import Row

_NULL = "__HIVE_DEFAULT_PARTITION__"  # in the name of a folder `column=value`, this value means a null


@dataclass(frozen=True)
class DataFile:
    """A file to read, and the column values that the names of its folders give to all its rows."""

    path: Path
    """a file, or a folder if the format stores data as folders"""
    values: Mapping[str, str | None] = field(default_factory=dict)
    """column -> value, for instance `{"user_id": "u7"}` in a folder `user_id=u7`; None means a null"""


def data_files(path: Path) -> list[DataFile]:
    """List the files to read for a path, in the order of their names.

    - For a file, or for a folder that is itself in a known format: the path itself.
    - For any other folder: the files in it.
    - If a folder has no such files: the files in its subfolders named `column=value`, at any depth. Hive, Spark and
      `pyarrow.dataset` partition data in this way.

    Raises `DataError` if a folder has no file of a known format.
    """
    if not path.is_dir() or find_format(path) is not None:
        return [DataFile(path)]
    files = list(_files_in(path, {})) or list(_partitions(path, {}))
    if not files:
        raise DataError(
            f"the folder is not a saved data set, and it has no file ending in {known_suffixes()}",
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


def read_rows(path: str | Path | DataFile, user_column: str) -> Iterator[Row]:
    """Yield the rows of a file, or of the files of a folder (see `data_files`).

    `user_column` is the name of the column with the users. From Parquet files and `datasets` folders, only this column
    and those in `lorerm.data.schema.COLUMNS` are read. Raises `DataError` if a file is missing, unreadable, of an
    unknown format, or has no rows.
    """
    for file in [path] if isinstance(path, DataFile) else data_files(Path(path)):
        yield from _read_file(file, user_column)


def _read_file(file: DataFile, user_column: str) -> Iterator[Row]:
    try:
        yield from _rows_of(file, user_column)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"the file is cut off or damaged ({error})", "copy or download it again", file=file.path
        ) from error
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise DataError(
            f"the file cannot be read ({reason})", "check the file and its permissions", file=file.path
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"the file is not UTF-8 text ({error.reason})", "save it as UTF-8", file=file.path) from error


def _rows_of(file: DataFile, user_column: str) -> Iterator[Row]:
    """Yield the rows of a file, with the column values from the names of its folders.

    Raises `DataError` if the file is missing, of an unknown format, or has no rows.
    """
    found = find_format(file.path)
    if not file.path.exists():
        raise DataError("the file does not exist", "check the path", file=file.path)
    if found is None:
        remedy = f"give a folder, or a file ending in {known_suffixes()}"
        raise DataError("the format of the file is not known", remedy, file=file.path)
    row = None
    for row in found.read(file.path, user_column):
        if file.values and isinstance(row.record, dict):
            row.record.update(file.values)
        yield row
    if row is None:
        raise DataError("the file has no rows", "give a file with at least one row of feedback", file=file.path)
