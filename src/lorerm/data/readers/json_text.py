"""Read JSON: one object on each line (blank lines are skipped), or one array of objects if the suffix is `.json`."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

from lorerm.data.readers.format import COMPRESSED, Format, Row, open_text
from lorerm.errors import DataError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


def _read(path: Path, _user_column: str) -> Iterator[Row]:
    with open_text(path) as lines:
        if path.name.lower().removesuffix(COMPRESSED).endswith(".json"):
            text = lines.read()
            yield from (
                _array(text, path) if text.lstrip().startswith("[") else _lines(io.StringIO(text, newline=""), path)
            )
        else:
            yield from _lines(lines, path)


def _array(text: str, path: Path) -> Iterator[Row]:
    records: list[object] = _parse(text, path)
    for number, record in enumerate(records, 1):
        yield Row(str(path), number, record)


def _lines(lines: Iterable[str], path: Path) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield Row(str(path), number, _parse(line, path, number))


def _parse(text: str, path: Path, row: int | None = None) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"the text is not JSON ({first_line(error)})", "write one JSON object on each line", file=path, row=row
        ) from error


FORMAT = Format(_read, (".jsonl", ".json"))
