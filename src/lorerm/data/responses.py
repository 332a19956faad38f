"""Texts of responses in Arrow tables: one row for each distinct prompt with its response, and columns of messages."""

from __future__ import annotations

from functools import cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from lorerm.data.conversation import Conversation, Message, conversation_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pyarrow as pa

    from lorerm.arrays import Ints

# Bounds the Python objects alive at once while columns are built.
_ROWS_PER_CHUNK = 10_000


@cache
def responses_schema() -> pa.Schema:
    """Return the columns of a table of responses: `prompt` and `response`, as lists of messages.

    With 64-bit offsets: a column of 32-bit offsets cannot hold more than 2 GiB of text.
    """
    import pyarrow as pa

    turn = pa.struct([("role", pa.large_string()), ("content", pa.large_string())])
    return pa.schema([("prompt", pa.large_list(turn)), ("response", pa.large_list(turn))])


def build_responses(conversations: Iterable[tuple[Conversation, Conversation]]) -> pa.Table:
    """Put (prompt, response) pairs, in their order, into a table of responses."""
    import pyarrow as pa

    batches: list[pa.RecordBatch] = []
    waiting: list[tuple[Conversation, Conversation]] = []

    def flush() -> None:
        columns = [build_messages(column, large=True) for column in zip(*waiting, strict=True)]
        batches.append(pa.RecordBatch.from_arrays(columns, schema=responses_schema()))
        waiting.clear()

    for pair in conversations:
        waiting.append(pair)
        if len(waiting) == _ROWS_PER_CHUNK:
            flush()
    if waiting:
        flush()
    return pa.Table.from_batches(batches, responses_schema()).combine_chunks()


def build_messages(conversations: Sequence[Conversation], *, large: bool = False) -> pa.Array[Any]:
    """Build a column of messages, with 64-bit offsets if `large`.

    It is put together from flat columns, which is several times faster than from nested Python objects.
    """
    import pyarrow as pa

    offsets, roles, contents = [0], [], []
    for conversation in conversations:
        for message in conversation:
            roles.append(message["role"])
            contents.append(message["content"])
        offsets.append(len(roles))
    text = pa.large_string() if large else pa.string()
    turns = pa.StructArray.from_arrays([pa.array(roles, text), pa.array(contents, text)], names=["role", "content"])
    if large:
        return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), turns)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), turns)


def read_messages(column: pa.ChunkedArray) -> list[Conversation]:
    """Return the conversations of a column of messages."""
    conversations: list[Conversation] = []
    for chunk in column.chunks:
        turns = chunk.flatten()
        roles, contents = turns.field("role").to_pylist(), turns.field("content").to_pylist()
        messages = [Message(role=role, content=content) for role, content in zip(roles, contents, strict=True)]
        start = 0
        for length in chunk.value_lengths().to_pylist():
            conversations.append(tuple(messages[start : start + length]))
            start += length
    return conversations


def read_responses(responses: pa.Table) -> Iterator[tuple[Conversation, Conversation]]:
    """Yield the prompt and the response of each row."""
    for start in range(0, len(responses), _ROWS_PER_CHUNK):
        some = responses.slice(start, _ROWS_PER_CHUNK)
        yield from zip(read_messages(some["prompt"]), read_messages(some["response"]), strict=True)


class DistinctResponses:
    """Collects the distinct (prompt, response) pairs of an input, and numbers them in order of first appearance."""

    def __init__(self) -> None:
        # By digest: the texts themselves would have to be kept twice.
        self._rows: dict[bytes, int] = {}
        self._waiting: list[tuple[Conversation, Conversation]] = []
        self._tables: list[pa.Table] = []

    def add(self, prompt: Conversation, response: Conversation) -> int:
        """Return the row of a prompt with its response."""
        key = f"{len(prompt)} {conversation_key(prompt + response)}"
        digest = blake2b(key.encode(), digest_size=16).digest()
        row = self._rows.get(digest)
        if row is None:
            row = self._rows[digest] = len(self._rows)
            self._waiting.append((prompt, response))
            if len(self._waiting) == _ROWS_PER_CHUNK:
                self._tables.append(build_responses(self._waiting))
                self._waiting = []
        return row

    def table(self) -> pa.Table:
        """Return the table of responses."""
        import pyarrow as pa

        return pa.concat_tables([*self._tables, build_responses(self._waiting)]).combine_chunks()


def canonical_order(responses: pa.Table, used: Ints) -> tuple[Ints, Ints]:
    """Sort responses by their texts and merge equal ones.

    The order is that of the canonical JSON of the whole conversation (prompt and response), then of the number of
    messages in the prompt. It does not depend on the order of the input, and brings conversations that begin with the
    same turns together, so that an encoder can compute them together.

    Parameters
    ----------
    responses
        A table of responses.
    used
        Int64 [m]: the rows to keep, increasing.

    Returns
    -------
    order
        Int64 [R]: the kept rows in order, one of each set of equal ones.
    row
        Int64 [m]: the row in that order of each of the rows in `used`.
    """
    texts = read_responses(responses.take(used))
    keys = [(conversation_key(prompt + response), len(prompt)) for prompt, response in texts]
    order: list[int] = []
    row = np.empty(len(keys), dtype=np.int64)
    for number in sorted(range(len(keys)), key=keys.__getitem__):
        if not order or keys[order[-1]] != keys[number]:
            order.append(number)
        row[number] = len(order) - 1
    return used[np.array(order, dtype=np.int64)], row
