"""Read JSON: one object on each line (blank lines are skipped), or one array of objects if the suffix is `.json`."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

from lorerm.data.readers.format import Format, Row, open_text, uncompressed_name
from lorerm.errors import DataError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


def _read(path: Path, _user_column: str) -> Iterator[Row]:
    with open_text(path) as lines:
        if uncompressed_name(path).endswith(".json"):
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
        return json.loads(text, object_pairs_hook=_unique_names)
    except _RepeatedNameError as error:
        raise DataError(
            f"the name {error.args[0]!r:.40} occurs twice in one object",
            "remove one of the two values, or rename one of them",
            file=path,
            row=row,
            column=error.args[0],
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"the text is not JSON ({first_line(error)})", "write one JSON object on each line", file=path, row=row
        ) from error


class _RepeatedNameError(ValueError):
    """A name occurs twice in a JSON object, of which Python's parser would keep only the last value."""


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _RepeatedNameError(next(name for name in names if names.count(name) > 1))
    return found


FORMAT = Format(_read, (".jsonl", ".ndjson", ".json"))
