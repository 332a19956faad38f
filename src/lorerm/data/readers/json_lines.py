"""JSON lines: one object per line; blank lines are skipped."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from lorerm.data.readers.format import Format, Row, open_text
from lorerm.errors import DataError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


def parse_json(text: str, source: str, row: int | None = None) -> object:
    """Return the value of a JSON text; `DataError` with the file, and the row if one is given, where it is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"the text is not JSON ({first_line(error)})", "write one JSON object per line", file=source, row=row
        ) from error


def parse_lines(lines: Iterable[str], source: str) -> Iterator[Row]:
    """Yield the row of each line that is not blank."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield Row(source, number, parse_json(line, source, number))


def _read(path: Path, _user_column: str) -> Iterator[Row]:
    with open_text(path) as lines:
        yield from parse_lines(lines, str(path))


FORMAT = Format(_read, (".jsonl",))
