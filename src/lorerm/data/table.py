"""The self-contained table of comparisons: each row has its texts, in the columns that TRL and `from_files` read."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from lorerm.data.responses import read_messages
from lorerm.data.schema import Comparison
from lorerm.errors import DataError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa

    from lorerm.arrays import Ints
    from lorerm.data.comparisons import Comparisons

_ROWS_READ = 1_000
_ROWS_PER_CHUNK = 10_000  # keeps each chunk's text below the 2 GiB that its 32-bit offsets can count


@cache
def schema() -> pa.Schema:
    """Return the columns, in their order."""
    import pyarrow as pa

    messages = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    return pa.schema(
        [
            ("user_id", pa.string()),
            ("prompt_id", pa.string()),
            ("prompt", messages),
            ("chosen", messages),
            ("rejected", messages),
            ("split", pa.string()),
            ("weight", pa.float64()),
        ]
    )


def build_table(comparisons: Comparisons, responses: pa.Table) -> pa.Table:
    """Put each comparison together with its texts, from a table of responses."""
    import pyarrow as pa

    batches = []
    for start in range(0, len(comparisons), _ROWS_PER_CHUNK):
        some = comparisons.select(slice(start, start + _ROWS_PER_CHUNK))
        chosen, rejected = some.rows()
        columns = [
            pa.array(some.user_ids, pa.string()),
            pa.array(some.prompt_ids, pa.string()),
            _take_messages(responses, "prompt", chosen),
            _take_messages(responses, "response", chosen),
            _take_messages(responses, "response", rejected),
            pa.array(some.splits if some.splits is not None else [None] * len(some), pa.string()),
            pa.array(some.weights, pa.float64()),
        ]
        batches.append(pa.RecordBatch.from_arrays(columns, schema=schema()))
    return pa.Table.from_batches(batches, schema())


def _take_messages(responses: pa.Table, column: str, rows: Ints) -> pa.Array:
    """Return rows of a column of messages, with 32-bit offsets."""
    import pyarrow as pa

    taken = responses[column].take(rows).combine_chunks()
    offsets = np.concatenate([[0], np.cumsum(taken.value_lengths().to_numpy(zero_copy_only=False))])
    turns = taken.flatten()
    fields = [turns.field(name).cast(pa.string()) for name in ("role", "content")]
    turns = pa.StructArray.from_arrays(fields, names=["role", "content"])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), turns)


def read_table(path: str | Path) -> Iterator[Comparison]:
    """Read the comparisons of a Parquet file with exactly these columns, some rows at a time.

    Raises
    ------
    DataError
        The file is missing, damaged, or has other columns or missing values.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            if file.schema_arrow != schema():
                raise DataError(
                    "the file does not have the columns that Preferences.write_parquet writes "
                    f"(columns found: {', '.join(file.schema_arrow.names)})",
                    "read it with Preferences.from_files",
                    file=path,
                )
            for batch in file.iter_batches(_ROWS_READ):
                empty = [name for name in schema().names if name != "split" and batch[name].null_count]
                if empty:
                    raise DataError(
                        f'column "{empty[0]}" has missing values', "write it again", file=path, column=empty[0]
                    )
                yield from _read_batch(pa.Table.from_batches([batch]))
    except FileNotFoundError as error:
        raise DataError("the file does not exist", "check the path", file=path) from error
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"the file is not a readable Parquet file ({first_line(error)})", "write it again", file=path
        ) from error


def _read_batch(table: pa.Table) -> Iterator[Comparison]:
    texts = {"prompt", "chosen", "rejected"}
    columns = [read_messages(table[name]) if name in texts else table[name].to_pylist() for name in Comparison._fields]
    yield from map(Comparison._make, zip(*columns, strict=True))
