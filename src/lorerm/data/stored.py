"""Read and write the comparisons of a run folder (`comparisons.parquet`) and their texts (`responses.parquet`).

A run folder is the folder into which `lorerm run` writes. The rows of `responses.parquet`, and those of the embeddings,
are in the order of `Preferences.canonical`. If the users of a response were forgotten, the row of its text is empty,
and all other rows keep their numbers.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lorerm.atomic import atomic_path
from lorerm.data.account import ReadingSummary
from lorerm.data.comparisons import Comparisons
from lorerm.data.preferences import Preferences
from lorerm.data.responses import read_responses, responses_schema
from lorerm.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import pyarrow as pa
    import pyarrow.parquet as pq

    from lorerm.arrays import Bools, Strings
    from lorerm.data.conversation import Conversation

COMPARISONS, RESPONSES = "comparisons.parquet", "responses.parquet"

# Number of rows in one row group of the Parquet file. It is fixed, so that equal tables give identical bytes. A row
# group of responses has as many rows as are embedded at a time.
_ROWS_PER_GROUP = {COMPARISONS: 1 << 17, RESPONSES: 1 << 10}


@cache
def comparisons_schema() -> pa.Schema:
    """Return the schema of `comparisons.parquet`."""
    import pyarrow as pa

    text, row = pa.string(), pa.int64()
    types = {"user_id": text, "prompt_id": text, "chosen": row, "rejected": row, "split": text, "weight": pa.float64()}
    return pa.schema([pa.field(name, kind) for name, kind in types.items()])


def write_comparisons(run: str | Path, comparisons: Comparisons) -> None:
    """Write `comparisons.parquet` atomically; equal comparisons give identical bytes."""
    import pyarrow as pa

    chosen, rejected = comparisons.rows()
    splits = [None] * len(comparisons) if comparisons.splits is None else comparisons.splits
    columns = [comparisons.user_ids, comparisons.prompt_ids, chosen, rejected, splits, comparisons.weights]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, comparisons_schema(), strict=True)]
    write_table(Path(run) / COMPARISONS, pa.Table.from_arrays(arrays, schema=comparisons_schema()))


def write_preferences(run: str | Path, preferences: Preferences) -> None:
    """Write `responses.parquet` (in canonical order), then `comparisons.parquet`.

    Each file is written atomically. Equal preferences give identical bytes.
    """
    ordered = preferences.canonical()
    write_table(Path(run) / RESPONSES, ordered.responses)
    write_comparisons(run, ordered)


def write_table(path: Path, table: pa.Table) -> None:
    """Write one of the two Parquet files atomically."""
    import pyarrow.parquet as pq

    with atomic_path(path) as temporary:
        pq.write_table(table.combine_chunks(), temporary, compression="zstd", row_group_size=_ROWS_PER_GROUP[path.name])


def load_comparisons(run: str | Path) -> Comparisons:
    """Read `comparisons.parquet`. Raises `RunError` if the file is missing or damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(run) / COMPARISONS
    try:
        table = pq.read_table(path, partitioning=None)
    except (pa.ArrowException, OSError) as error:
        raise damaged(path) from error
    if table.schema != comparisons_schema():
        raise damaged(path)
    return Comparisons(
        user_ids=_strings(table["user_id"]),
        prompt_ids=_strings(table["prompt_id"]),
        # Copies, since Arrow's memory is read-only, and torch warns of read-only arrays.
        chosen=table["chosen"].to_numpy().copy(),
        rejected=table["rejected"].to_numpy().copy(),
        weights=table["weight"].to_numpy().copy(),
        splits=None if table["split"].null_count == len(table) else _strings(table["split"]),
    )


def load_preferences(run: str | Path) -> Preferences:
    """Read the comparisons in a run folder with their texts. Raises `RunError` if a file is missing or damaged."""
    columns, responses = load_comparisons(run).columns(), StoredResponses(run).table()
    n = len(columns["chosen"])
    if columns["splits"] is None:
        columns["splits"] = np.full(n, None, dtype=object)
    return Preferences(**columns, responses=responses, summary=ReadingSummary(n, n))


def forget_users(run: str | Path, user_ids: Collection[str]) -> int:
    """Remove the users' comparisons and the texts of the responses that only they compared.

    The row numbers of the responses do not change. If the call is interrupted between the two files, the same call
    completes it. Return the number of comparisons removed.
    """
    comparisons = load_comparisons(run)
    kept = comparisons.without_users(user_ids, missing_ok=True)
    if (Path(run) / RESPONSES).exists():
        # Remove the texts first: as long as the old comparisons are there, an interrupted call can be repeated.
        _blank_texts(run, kept)
    if len(kept) < len(comparisons):
        write_comparisons(run, kept)
    return len(comparisons) - len(kept)


def _blank_texts(run: str | Path, kept: Comparisons) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    responses = StoredResponses(run).table()
    unused: Bools = np.ones(len(responses), dtype=bool)
    unused[np.concatenate(kept.rows())] = False
    unused &= pc.list_value_length(responses["prompt"]).to_numpy() > 0  # rows that are already empty need no change
    if not unused.any():
        return
    for number, field in enumerate(responses.schema):
        column = pc.if_else(pa.array(unused), pa.scalar([], field.type), responses[number])
        responses = responses.set_column(number, field, column)
    write_table(Path(run) / RESPONSES, responses)


class StoredResponses:
    """Texts in the `responses.parquet` of a run folder, read some rows at a time, which bounds memory.

    Raises `RunError` if the file is missing or damaged, when the object is created or when rows are read.
    """

    def __init__(self, run: str | Path) -> None:
        self._path = Path(run) / RESPONSES
        with self._open() as file:
            groups = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
            if file.schema_arrow != responses_schema():
                raise damaged(self._path)
        self._starts = np.cumsum([0, *groups])  # the first row of each row group, then the number of rows

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self._starts[-1])

    def conversations(self, rows: slice) -> list[Conversation]:
        """Return the whole conversations in consecutive rows; a conversation is empty if its text was removed."""
        # With side="right", the results are one larger than the indices of the first and the last row group needed.
        first, last = np.searchsorted(self._starts, [rows.start, rows.stop - 1], side="right").tolist()
        with self._open() as file:
            table = file.read_row_groups(list(range(first - 1, last)))
        some = table.slice(rows.start - int(self._starts[first - 1]), rows.stop - rows.start)
        return [prompt + response for prompt, response in read_responses(some)]

    def table(self) -> pa.Table:
        """Return all rows as an Arrow table (`responses_schema`)."""
        with self._open() as file:
            return file.read().combine_chunks()

    @contextmanager
    def _open(self) -> Iterator[pq.ParquetFile]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(self._path) as file:
                yield file
        except (pa.ArrowException, OSError) as error:
            raise damaged(self._path) from error


def damaged(path: Path) -> RunError:
    """Return the error for a file in a run folder that is missing or cannot be read."""
    return RunError(
        "the file is missing or damaged",
        "delete the file if it exists, then run the command that writes it; finished work is kept",
        file=path,
    )


def _strings(column: pa.ChunkedArray) -> Strings:
    """Return a column as Python strings, in which equal strings are one object; a null is None."""
    encoded = column.combine_chunks().dictionary_encode()
    # None is the last entry of the dictionary; nulls get its index.
    known = np.array([*encoded.dictionary.to_pylist(), None], dtype=object)
    found: Strings = known[encoded.indices.fill_null(len(known) - 1).to_numpy(zero_copy_only=False)]
    return found
