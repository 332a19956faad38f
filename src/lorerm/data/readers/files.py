"""Read the rows of log files and folders, whatever their format."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lorerm.data.readers import find_format, known_suffixes
from lorerm.data.readers.folders import DataFile, data_files
from lorerm.errors import DataError, first_line

if TYPE_CHECKING:
    from lorerm.data.readers.format import Row


def read_rows(path: str | Path | DataFile, user_column: str) -> Iterator[Row]:
    """Yield the rows of a file, or of the files of a folder in the order of their names.

    Parameters
    ----------
    path
        What to read; the end of a file's name gives its format. See `data_files` for folders.
    user_column
        The column of the users; from formats that store columns apart, only it and the columns of the data contract
        are read.

    Raises
    ------
    DataError
        A file is missing, unreadable, of an unknown format, or holds no rows.
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
        raise DataError(f"the file cannot be read ({reason})", "check the file", file=file.path) from error
    except UnicodeDecodeError as error:
        raise DataError(f"the file is not UTF-8 text ({error.reason})", "save it as UTF-8", file=file.path) from error


def _rows_of(file: DataFile, user_column: str) -> Iterator[Row]:
    """Yield the rows of a file, each with the columns that the file's folders give; refuse a file without rows."""
    found = find_format(file.path)
    if not file.path.exists():
        raise DataError("the file does not exist", "check the path", file=file.path)
    if found is None:
        remedy = f"give a folder, or a file ending in {known_suffixes()}"
        raise DataError("the format of the file is not known", remedy, file=file.path)
    empty = True
    for row in found.read(file.path, user_column):
        empty = False
        if file.values and isinstance(row.record, Mapping):
            yield row._replace(record={**row.record, **file.values})
        else:
            yield row
    if empty:
        raise DataError("the file holds no rows", "give a file with one row of feedback or more", file=file.path)
