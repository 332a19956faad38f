"""The normal form of preferences: one Arrow table, and the conversations in its columns."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from lorerm.preferences.conversation import Conversation, Message

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pyarrow as pa

    from lorerm.preferences.contract import Pair

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


def build_table(pairs: Iterable[Pair]) -> pa.Table:
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


def _build_batch(pairs: Sequence[Pair]) -> pa.RecordBatch:
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
