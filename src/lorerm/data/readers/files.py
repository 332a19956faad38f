"""Find the files of an input and read their rows, for all file formats."""

from __future__ import annotations

import gzip
import lzma
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from lorerm.data.coercion import is_missing
from lorerm.data.readers import find_format, known_suffixes
from lorerm.errors import DataError, first_line

if TYPE_CHECKING:
    from lorerm.data.readers.format import Row

_NULL = "__HIVE_DEFAULT_PARTITION__"  # in the name of a folder `column=value`, this value stands for a null


@dataclass(frozen=True)
class DataFile:
    """A file to read, and the column values that the names of its folders give to all its rows."""

    path: Path
    """a file, or a folder if the format stores data as folders"""
    values: Mapping[str, str | None] = field(default_factory=dict)
    """column -> value, for instance `{"user_id": "u7"}` in a folder `user_id=u7`; None means a null"""


@dataclass(frozen=True)
class InputFiles:
    """The files in a path: files to read, and files that are not read."""

    files: tuple[DataFile, ...]
    """the files to read, in the order of their names"""
    unread: tuple[Path, ...] = ()
    """files in the folder that are not read because their format is not known"""


def find_files(path: Path) -> InputFiles:
    """Find the files to read for a path.

    - For a file, or for a folder that is itself in a known format: the path itself.
    - For any other folder: the files in it, then those in its subfolders, in the order of their names. A subfolder
      named `column=value` gives its files the value of a column. Hive, Spark and `pyarrow.dataset` partition data in
      this way.

    Names that begin with a dot are passed over, and so are empty files of unknown formats such as `_SUCCESS`. Files in
    folders whose names begin with an underscore, which hold logs and temporary files of the program that wrote the
    data, are not read. Raises `DataError` if a folder has no file of a known format.
    """
    if not path.is_dir() or find_format(path) is not None:
        return InputFiles((DataFile(path),))
    found = _walk(path, {}, frozenset())
    files = tuple(file for file in found if isinstance(file, DataFile))
    if not files:
        raise DataError(
            f"the folder is not a saved data set, and it has no file ending in {known_suffixes()}",
            "check the path",
            file=path,
        )
    return InputFiles(files, tuple(file for file in found if isinstance(file, Path)))


def _walk(folder: Path, values: Mapping[str, str | None], above: frozenset[Path]) -> list[DataFile | Path]:
    """List the files in a folder and its subfolders: a `DataFile` if it can be read, otherwise its path."""
    here = folder.resolve()
    if here in above:  # a link to a folder that contains it
        return []
    entries = [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith(".")]
    found: list[DataFile | Path] = []
    for entry in entries:
        if find_format(entry) is not None:
            found.append(DataFile(entry, values))
        elif not entry.is_dir() and entry.stat().st_size:
            found.append(entry)
    for entry in entries:
        if entry.is_dir() and find_format(entry) is None:
            column, separator, value = entry.name.partition("=")
            given = {column: None if value == _NULL else unquote(value)} if separator and column else {}
            within = _walk(entry, {**values, **given}, above | {here})
            if entry.name.startswith("_"):
                within = [file.path if isinstance(file, DataFile) else file for file in within]
            found += within
    return found


def read_rows(path: str | Path | DataFile, user_column: str) -> Iterator[Row]:
    """Yield the rows of a file, or of the files of a folder (see `find_files`).

    `user_column` is the name of the column with the users. From Parquet files and `datasets` folders, only the columns
    that `needed_columns` returns are read. Raises `DataError` if a file is missing, unreadable, of an unknown format,
    or has no rows.
    """
    for file in [path] if isinstance(path, DataFile) else find_files(Path(path)).files:
        yield from _read_file(file, user_column)


def _read_file(file: DataFile, user_column: str) -> Iterator[Row]:
    try:
        yield from _rows_of(file, user_column)
    except (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError) as error:
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
        yield _with_values(row, file.values)
    if row is None:
        raise DataError("the file has no rows", "give a file with at least one row of feedback", file=file.path)


def _with_values(row: Row, values: Mapping[str, str | None]) -> Row:
    """Return a row together with the values of columns that the names of its folders give."""
    if values and isinstance(row.record, dict):
        for column, value in values.items():
            given = row.record.get(column)
            if not is_missing(given) and str(given) != value:
                raise DataError(
                    f'column "{column}" has a different value from the one in the name of the folder',
                    "leave the column out of the file, or rename the folder",
                    file=row.source,
                    row=row.number,
                    column=column,
                )
        row.record.update(values)
    return row
