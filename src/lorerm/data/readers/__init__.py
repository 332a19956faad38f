"""Readers of feedback files: one module for each file format, and the registry of these modules."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lorerm.data.readers.format import Format

FORMATS: Mapping[str, str] = {
    "JSON (lines or an array)": "lorerm.data.readers.json_text",
    "CSV (commas, semicolons or tabs)": "lorerm.data.readers.csv_table",
    "Parquet": "lorerm.data.readers.parquet",
    "`datasets` folder": "lorerm.data.readers.datasets_folder",
}
"""Name of each format -> the module that reads it (constant `FORMAT`), imported only when a file is read."""


def all_formats() -> list[Format]:
    """Return all formats, in the order of the registry."""
    return [import_module(module).FORMAT for module in FORMATS.values()]


def find_format(path: Path) -> Format | None:
    """Return the format of a file or folder. Return None if no format recognises it."""
    return next((one for one in all_formats() if one.recognises(path)), None)


def known_suffixes() -> str:
    """Return the suffixes of the files that can be read, as text for errors: ".jsonl, .csv (also with .gz)"."""
    from lorerm.data.readers.format import COMPRESSED

    suffixes = ", ".join(suffix for one in all_formats() for suffix in one.suffixes)
    return f"{suffixes} (also with {', '.join(COMPRESSED)})"
