"""A small feedback file, and functions that write it in each format."""

from __future__ import annotations

import csv
import gzip
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ROWS: list[dict[str, Any]] = [
    {"user_id": "ann", "prompt_id": "p1", "prompt": "Tea?", "chosen": "Yes,\nplease", "rejected": 'No "way"'},
    {"user_id": "bob", "prompt_id": "p2", "prompt": "Täglich?", "chosen": "[sic]", "rejected": "", "split": "val"},
]
COLUMNS = ("user_id", "prompt_id", "prompt", "chosen", "rejected", "split")


def write_lines(path: Path, rows: Sequence[dict[str, Any]] = ROWS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_array(path: Path) -> Path:
    path.write_text(json.dumps(ROWS, indent=1))
    return path


def write_csv(path: Path, rows: Sequence[dict[str, Any]] = ROWS, columns: Sequence[str] = COLUMNS) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_parquet(path: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist([{**row, "split": row.get("split"), "noise": 1.5} for row in ROWS]), path)
    return path


def compress(path: Path) -> Path:
    """Replace a file by its gzipped copy, whose name has .gz at its end."""
    zipped = path.with_name(path.name + ".gz")
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    return zipped
