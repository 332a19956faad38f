"""Tables of responses (Arrow): each row has a prompt and a response, as lists of messages."""

from __future__ import annotations

from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from lorerm.data.conversation import Conversation, Message, conversation_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pyarrow as pa

    from lorerm.arrays import Ints

# Bounds the Python objects alive at once while columns are built or read.
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

    pairs = iter(conversations)
    batches = []
    while some := list(islice(pairs, _ROWS_PER_CHUNK)):
        columns = [build_messages(column) for column in zip(*some, strict=True)]
        batches.append(pa.RecordBatch.from_arrays(columns, schema=responses_schema()))
    return pa.Table.from_batches(batches, responses_schema()).combine_chunks()


def build_messages(conversations: Sequence[Conversation]) -> pa.Array[Any]:
    """Build a column of messages from flat columns: several times faster than from nested Python objects."""
    import pyarrow as pa

    offsets, roles, contents = [0], [], []
    for conversation in conversations:
        for message in conversation:
            roles.append(message["role"])
            contents.append(message["content"])
        offsets.append(len(roles))
    fields = [pa.array(texts, pa.large_string()) for texts in (roles, contents)]
    turns = pa.StructArray.from_arrays(fields, names=["role", "content"])
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), turns)


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


def canonical_order(responses: pa.Table, used: Ints) -> tuple[Ints, Ints]:
    """Sort the responses in the rows `used` (int64 [m], increasing) by their texts, and merge equal ones.

    The order is that of the canonical JSON of the whole conversation (prompt and response), then of the number of
    messages in the prompt. It does not depend on the order of the input, and brings conversations that begin with the
    same turns together, so that an encoder can compute them together.

    Returns the kept rows in that order (int64 [R], one of each set of equal ones), and the index among them of each row
    in `used` (int64 [m]).
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
