"""A small feedback file, and functions that write it in each format."""

from __future__ import annotations

import bz2
import csv
import gzip
import json
import lzma
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ROWS: list[dict[str, Any]] = [
    {"user_id": "ann", "prompt_id": "p1", "prompt": "Tea?", "chosen": "Yes,\nplease", "rejected": 'No "way"'},
    {"user_id": "bob", "prompt_id": "p2", "prompt": "Täglich?", "chosen": "[sic]", "rejected": "Nein", "split": "val"},
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


def compress(path: Path, suffix: str = ".gz") -> Path:
    """Replace a file by its compressed copy, whose name has the suffix at its end."""
    import pyarrow as pa

    zipped, content = path.with_name(path.name + suffix), path.read_bytes()
    if suffix == ".zst":
        with pa.CompressedOutputStream(str(zipped), "zstd") as stream:
            stream.write(content)
    else:
        module: Any = {".gz": gzip, ".bz2": bz2, ".xz": lzma}[suffix]
        zipped.write_bytes(module.compress(content))
    path.unlink()
    return zipped
