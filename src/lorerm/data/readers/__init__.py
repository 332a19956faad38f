"""Readers of feedback logs: one module per format, and one line in this registry."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lorerm.data.readers.format import Format

FORMATS: Mapping[str, str] = {
    "JSON (lines or an array)": "lorerm.data.readers.json_text",
    "CSV": "lorerm.data.readers.csv_table",
    "Parquet": "lorerm.data.readers.parquet",
    "`datasets` folder": "lorerm.data.readers.datasets_folder",
}
"""Name of the format -> the module whose constant `FORMAT` reads it; imported when a file is to be read."""


def all_formats() -> list[Format]:
    """Return the formats, in the order of the registry."""
    return [import_module(module).FORMAT for module in FORMATS.values()]


def find_format(path: Path) -> Format | None:
    """Return the format of a file or folder; None where no format recognises it."""
    return next((one for one in all_formats() if one.recognises(path)), None)


def known_suffixes() -> str:
    """Return the ends of the names of files that can be read, for errors: ".jsonl, .csv (also with .gz)"."""
    return f"{', '.join(suffix for one in all_formats() for suffix in one.suffixes)} (also with .gz)"
