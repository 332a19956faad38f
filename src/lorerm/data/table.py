"""The normal form of preferences: one Arrow table, and the conversations in its columns."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from lorerm.data.conversation import Conversation, Message
from lorerm.errors import DataError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa

    from lorerm.data.schema import Comparison

_ROWS_READ = 1_000
_ROWS_PER_CHUNK = 10_000  # bounds the Python objects alive at once, and keeps each chunk's text below Arrow's 2 GiB


@cache
def schema() -> pa.Schema:
    """Give the columns of the normal form, in their order."""
    import pyarrow as pa

    return pa.schema(
        [
            ("user_id", pa.string()),
            ("prompt_id", pa.string()),
            ("prompt", messages_type()),
            ("chosen", messages_type()),
            ("rejected", messages_type()),
            ("split", pa.string()),
            ("weight", pa.float64()),
        ]
    )


def messages_type() -> pa.DataType:
    """Give the type of a column of conversations."""
    import pyarrow as pa

    return pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


def build_table(pairs: Iterable[Comparison]) -> pa.Table:
    """Put pairs, in their order, into a table of the normal form."""
    import pyarrow as pa

    batches, waiting = [], []
    for pair in pairs:
        waiting.append(pair)
        if len(waiting) == _ROWS_PER_CHUNK:
            batches.append(_build_batch(waiting))
            waiting = []
    if waiting:
        batches.append(_build_batch(waiting))
    return pa.Table.from_batches(batches, schema())


def read_conversations(table: pa.Table, column: str) -> list[Conversation]:
    """Take the messages of one column out of a table, for instance of the normal form."""
    conversations: list[Conversation] = []
    chunks: list[Any] = table[column].chunks
    for chunk in chunks:
        turns = chunk.flatten()
        roles, contents = turns.field("role").to_pylist(), turns.field("content").to_pylist()
        messages = [Message(role=role, content=content) for role, content in zip(roles, contents, strict=True)]
        start = 0
        for length in chunk.value_lengths().to_pylist():
            conversations.append(tuple(messages[start : start + length]))
            start += length
    return conversations


def read_tables(path: str | Path) -> Iterator[pa.Table]:
    """Read a Parquet file in the normal form, some rows at a time: in bounded memory.

    Raises
    ------
    DataError
        The file is missing or not in the normal form, at once; or it is damaged, where that shows.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    def unreadable(error: Exception) -> DataError:
        return DataError(f"{path} is not a readable Parquet file ({first_line(error)})", "prepare it again")

    try:
        file = pq.ParquetFile(path)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist", "check the path, or prepare the preferences first") from error
    except (pa.ArrowException, OSError) as error:
        raise unreadable(error) from error
    if file.schema_arrow != schema():
        file.close()
        raise DataError(
            f"{path} is not in the normal form of preferences (columns found: {', '.join(file.schema_arrow.names)})",
            "read it with Preferences.from_files, or prepare it again",
        )

    def tables() -> Iterator[pa.Table]:
        with file:
            try:
                for batch in file.iter_batches(_ROWS_READ):
                    empty = [name for name in schema().names if name != "split" and batch[name].null_count]
                    if empty:
                        raise DataError(f'{path}: column "{empty[0]}" has empty cells', "prepare it again")
                    yield pa.Table.from_batches([batch]).cast(schema())
            except (pa.ArrowException, OSError) as error:
                raise unreadable(error) from error

    return tables()


def _build_batch(pairs: Sequence[Comparison]) -> pa.RecordBatch:
    """Turn some pairs, as rows, into columns."""
    import pyarrow as pa

    user_ids, prompt_ids, prompts, chosen, rejected, splits, weights = zip(*pairs, strict=True)
    columns = [
        pa.array(user_ids, pa.string()),
        pa.array(prompt_ids, pa.string()),
        build_messages(prompts),
        build_messages(chosen),
        build_messages(rejected),
        pa.array(splits, pa.string()),
        pa.array(weights, pa.float64()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema())


def build_messages(conversations: Sequence[Conversation]) -> pa.Array[Any]:
    """Build a column of conversations from its flat parts, several times faster than from nested objects."""
    import pyarrow as pa

    offsets, roles, contents = [0], [], []
    for conversation in conversations:
        for message in conversation:
            roles.append(message["role"])
            contents.append(message["content"])
        offsets.append(len(roles))
    turns = pa.StructArray.from_arrays(
        [pa.array(roles, pa.string()), pa.array(contents, pa.string())], names=["role", "content"]
    )
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), turns)
