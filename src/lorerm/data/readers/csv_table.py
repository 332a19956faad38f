"""Read CSV: comma-separated values under a header line. A value that is a JSON list is read as a list."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

from lorerm.data.readers.format import Format, Row, open_text
from lorerm.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_REMEDY = "put values that contain commas, quotes or line breaks into quotes"


def _read(path: Path, _user_column: str) -> Iterator[Row]:
    limit = csv.field_size_limit(2**31 - 1)  # responses can be longer than 128 KiB, the default limit of Python's csv
    try:
        with open_text(path) as stream:
            lines = [values for values in csv.reader(stream, strict=True) if values]
    except csv.Error as error:
        raise DataError(f"the file is not CSV ({error})", _REMEDY, file=path) from error
    finally:
        csv.field_size_limit(limit)
    header, *rows = lines or [[]]
    for number, values in enumerate(rows, 1):
        if len(values) != len(header):
            raise DataError(
                f"the row has {len(values)} values, but the header has {len(header)}", _REMEDY, file=path, row=number
            )
        record = {column: _parse(column, value) for column, value in zip(header, values, strict=True)}
        yield Row(str(path), number, record)


def _parse(column: str, text: str) -> object:
    """Convert a text to the type that its column must have (`lorerm.data.schema`), since CSV stores only text."""
    if column in ("prompt", "chosen", "rejected"):
        entries = _json_list(text)
        return entries if entries and all(isinstance(entry, dict) for entry in entries) else text
    if column in ("responses", "ratings"):
        entries = _json_list(text)
        return (text or None) if entries is None else entries
    if column in ("choice", "weight"):
        try:
            return float(text) if text.strip() else None
        except ValueError:
            return text
    return text


def _json_list(text: str) -> list[object] | None:
    if not text.lstrip().startswith("["):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) else None


FORMAT = Format(_read, (".csv",))
