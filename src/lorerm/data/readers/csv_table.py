"""Read CSV: values separated by commas, semicolons or tabs, under a header line. An empty cell is a missing value."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, NamedTuple

from lorerm.data.feedback import known_columns
from lorerm.data.ids import parse_text_id
from lorerm.data.readers.format import Format, Row, check_columns, open_text
from lorerm.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SEPARATORS = (",", ";", "\t")
_REMEDY = "put values that contain separators, quotes or line breaks into quotes"
_CUT_OFF = "CSV files that do not end in a line break, so that their last row may be cut off"


class _Table(NamedTuple):
    header: list[str]
    rows: list[list[str]]
    is_ended: bool
    """whether the file ends in a line break"""


def _read(path: Path, user_column: str) -> Iterator[Row]:
    header, rows, is_ended = _load(path, known_columns(user_column))
    check_columns(header, user_column, path)
    ids = [column for column in (user_column, "prompt_id") if column in header]
    for number, values in enumerate(rows, 1):
        if len(values) != len(header):
            raise DataError(
                f"the row has {len(values)} values, but the header has {len(header)}", _REMEDY, file=path, row=number
            )
        record: dict[str, object] = {column: value or None for column, value in zip(header, values, strict=True)}
        for column in ids:
            record[column] = parse_text_id(record[column])
        yield Row(str(path), number, record, None if is_ended or number < len(rows) else _CUT_OFF)


def _load(path: Path, known: frozenset[str]) -> _Table:
    """Return the header and the rows, without blank lines.

    The separator is the one with which the header has the most known columns.
    """
    limit = csv.field_size_limit(2**31 - 1)  # responses can be longer than 128 KiB, the default limit of Python's csv
    try:
        with open_text(path) as stream:
            text = stream.read()
        first = next((line for line in text.splitlines() if line.strip()), "")
        headers = {separator: next(csv.reader([first], delimiter=separator), []) for separator in _SEPARATORS}
        separator = max(_SEPARATORS, key=lambda one: len(known.intersection(headers[one])))
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        table = [values for values in lines if values]
    except csv.Error as error:
        raise DataError(f"the file is not CSV ({error})", _REMEDY, file=path) from error
    finally:
        csv.field_size_limit(limit)
    header, *rows = table or [[]]
    return _Table(header, rows, text.endswith(("\n", "\r")))


FORMAT = Format(_read, (".csv", ".tsv"))
