"""Rows out of files: JSON lines, JSON, CSV, Parquet, and folders that `datasets` wrote."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lorerm.data.coercion import is_missing
from lorerm.data.readers.folders import SUFFIXES, DataFile, data_files, known_suffix
from lorerm.data.schema import COLUMNS, parse_split
from lorerm.errors import DataError, first_line

if TYPE_CHECKING:
    from collections.abc import Callable

    import datasets

_BATCH = 1000


class Row(NamedTuple):
    """One row of an input, with what an error calls it."""

    source: str
    number: int
    """from 1 on; in files of lines, the number of the line"""
    record: object


def read_rows(path: str | Path | DataFile, user_column: str) -> Iterator[Row]:
    """Read the rows of a file, of a folder written by `datasets`, or of a folder of files in the order of their names.

    Parameters
    ----------
    path
        What to read; the end of its name tells the format. See `data_files` for folders.
    user_column
        The column of the users; only it and the columns of the contract are read.

    Yields
    ------
    Row

    Raises
    ------
    DataError
        The file is missing, unreadable, of an unknown format, or holds no rows.
    """
    file = path if isinstance(path, DataFile) else DataFile(Path(path))
    path = file.path
    try:
        yield from _read_folder(path, user_column) if path.is_dir() else _read_part(file, user_column)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is cut off or damaged ({error})", "copy or download it again") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or first_line(error)})", "check the file") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason})", "save it as UTF-8") from error


def dataset_rows(
    dataset: datasets.Dataset | datasets.DatasetDict, user_column: str, source: str = "dataset"
) -> Iterator[Row]:
    """Read the rows of a `datasets.Dataset`, or of a `DatasetDict`.

    The names of a dictionary's splits become the rows' `split`, unless a row has its own, or there is one split only.
    """
    if isinstance(dataset, Mapping):
        for name, part in dataset.items():
            label = None
            if len(dataset) > 1:
                try:
                    label = parse_split(str(name))
                except DataError:
                    raise DataError(
                        f"{source} has a split {name!r:.40}",
                        "name the splits train, validation or test, or give one of them only",
                    ) from None
            for row in dataset_rows(part, user_column, f"{source}, split {name}"):
                yield row if label is None else row._replace(record=_with_split(row.record, label))
        return
    if not hasattr(dataset, "column_names") or not hasattr(dataset, "with_format"):
        raise DataError(
            f"{source} is a {type(dataset).__name__}, not a datasets.Dataset or DatasetDict",
            "use Preferences.from_records for plain rows",
        )
    if dataset.column_names:
        dataset = dataset.select_columns(_wanted(dataset.column_names, user_column))
    number = 0
    for batch in dataset.with_format(None).iter(_BATCH):
        names = list(batch)
        for values in zip(*batch.values(), strict=True):
            number += 1
            yield Row(source, number, dict(zip(names, values, strict=True)))


def saved_dataset(folder: Path) -> datasets.Dataset | datasets.DatasetDict | None:
    """Open a folder that `save_to_disk` wrote; None where it is another one.

    Raises
    ------
    DataError
        It is damaged.
    """
    if not ((folder / "dataset_dict.json").exists() or (folder / "state.json").exists()):
        return None
    import pyarrow as pa
    from datasets import load_from_disk

    try:
        return load_from_disk(str(folder))
    except (pa.ArrowInvalid, ValueError, KeyError, TypeError) as error:
        raise DataError(f"folder {folder} is damaged ({first_line(error)})", "save the data set again") from error


def _with_split(record: object, label: str) -> object:
    """Give a row the name of the split that it stands in, unless it says its own."""
    if not isinstance(record, Mapping) or not is_missing(record.get("split")):
        return record
    return {**record, "split": label}


def _read_folder(path: Path, user_column: str) -> Iterator[Row]:
    """Read a folder."""
    dataset = saved_dataset(path)
    if dataset is not None:
        yield from _some(dataset_rows(dataset, user_column, str(path)), path)
        return
    for file in data_files(path):
        yield from _read_part(file, user_column)


def _read_part(file: DataFile, user_column: str) -> Iterator[Row]:
    """Read a file, and give its rows the columns that its folders name."""
    for row in _read_file(file.path, user_column):
        if file.values and isinstance(row.record, Mapping):
            yield row._replace(record={**row.record, **file.values})
        else:
            yield row


def _read_file(path: Path, user_column: str) -> Iterator[Row]:
    """Read a file in the format that the end of its name tells."""
    suffix = known_suffix(path)
    if not path.exists():
        raise DataError(f"{path} does not exist", "check the path")
    if suffix is None:
        raise DataError(f"{path} is of an unknown format", f"give a file ending in {', '.join(SUFFIXES)}, or a folder")
    if suffix == ".parquet":
        yield from _some(_read_parquet(path, user_column), path)
        return
    with gzip.open(path) if suffix.endswith(".gz") else path.open("rb") as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
        yield from _some(_READERS[suffix.removesuffix(".gz")](text, str(path)), path)


def _some(rows: Iterator[Row], path: Path) -> Iterator[Row]:
    """Pass the rows on, and refuse that there are none."""
    first = next(rows, None)
    if first is None:
        raise DataError(f"{path} holds no rows", "give a file with one judgement per row")
    yield first
    yield from rows


def _read_json_lines(stream: io.TextIOBase, source: str) -> Iterator[Row]:
    """Read one JSON object per line; blank lines are skipped."""
    for number, line in enumerate(stream, 1):
        if line.strip():
            yield Row(source, number, _parse_json(line, f"{source}, row {number}"))


def _read_json(stream: io.TextIOBase, source: str) -> Iterator[Row]:
    """Read a JSON array of objects, or one object per line."""
    text = stream.read()
    if not text.lstrip().startswith("["):
        yield from _read_json_lines(io.StringIO(text, newline=""), source)
        return
    for number, record in enumerate(_parse_json(text, source), 1):  # type: ignore[arg-type, var-annotated]
        yield Row(source, number, record)


def _parse_json(text: str, name: str) -> object:
    """Parse JSON, or say where it is wrong."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name} is not JSON ({first_line(error)})", "write one JSON object per line") from error


def _read_csv(stream: io.TextIOBase, source: str) -> Iterator[Row]:
    """Read comma-separated values under a header; a cell that holds a JSON list is taken as that list."""
    limit = csv.field_size_limit(2**31 - 1)  # responses can be longer than the module's 128 KiB
    try:
        lines = [cells for cells in csv.reader(stream, strict=True) if cells]
    except csv.Error as error:
        raise DataError(f"{source} is not CSV ({error})", "quote cells that hold commas, quotes or lines") from error
    finally:
        csv.field_size_limit(limit)
    header, rows = (lines[0], lines[1:]) if lines else ([], [])
    for number, cells in enumerate(rows, 1):
        if len(cells) != len(header):
            raise DataError(
                f"{source}, row {number} has {len(cells)} cells under a header of {len(header)}",
                "quote cells that hold commas, quotes or lines",
            )
        yield Row(source, number, {name: _parse_cell(name, cell) for name, cell in zip(header, cells, strict=True)})


def _parse_cell(column: str, cell: str) -> object:
    """Give a cell its type: all are strings in the file."""
    if column in ("prompt", "chosen", "rejected"):
        value = _json_list(cell)
        return value if value and all(isinstance(entry, dict) for entry in value) else cell
    if column in ("responses", "ratings"):
        value = _json_list(cell)
        return (cell or None) if value is None else value
    if column in ("choice", "weight"):
        try:
            return float(cell) if cell.strip() else None
        except ValueError:
            return cell
    return cell


def _json_list(cell: str) -> list[object] | None:
    """Parse a cell that holds a JSON list."""
    if not cell.lstrip().startswith("["):
        return None
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) else None


def _read_parquet(path: Path, user_column: str) -> Iterator[Row]:
    """Read the columns of the contract out of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(_BATCH, columns=_wanted(file.schema_arrow.names, user_column)):
                for record in batch.to_pylist():
                    number += 1
                    yield Row(str(path), number, record)
    except pa.ArrowException as error:
        raise DataError(f"{path} is not a readable Parquet file ({first_line(error)})", "write it again") from error


def _wanted(found: list[str], user_column: str) -> list[str]:
    """Choose the columns to read; all of them when one is missing, so that the error can list them."""
    if not {user_column, "prompt"} <= set(found) or not {"rejected", "responses"} & set(found):
        return found
    return [name for name in found if name in COLUMNS or name == user_column]


_READERS: dict[str, Callable[[io.TextIOBase, str], Iterator[Row]]] = {
    ".jsonl": _read_json_lines,
    ".json": _read_json,
    ".csv": _read_csv,
}
