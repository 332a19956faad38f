"""JSON: an array of objects; or, as some programs write it under the same name, one object per line."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from lorerm.data.coercion import as_list
from lorerm.data.readers.format import Format, Row, open_text
from lorerm.data.readers.json_lines import parse_json, parse_lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def _read(path: Path, _user_column: str) -> Iterator[Row]:
    with open_text(path) as stream:
        text = stream.read()
    if not text.lstrip().startswith("["):
        yield from parse_lines(io.StringIO(text, newline=""), str(path))
        return
    for number, record in enumerate(as_list(parse_json(text, str(path))) or [], 1):
        yield Row(str(path), number, record)


FORMAT = Format(_read, (".json",))
