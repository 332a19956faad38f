"""Arrow tables of responses: each row has a prompt and a response, both as lists of messages."""

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

# Number of rows converted to or from Python objects at a time, which bounds memory.
_ROWS_PER_CHUNK = 10_000


@cache
def responses_schema() -> pa.Schema:
    """Return the schema of a table of responses: the columns `prompt` and `response`, which are lists of messages.

    The offsets have 64 bits, since a column with 32-bit offsets cannot hold more than 2 GiB of text.
    """
    import pyarrow as pa

    turn = pa.struct([("role", pa.large_string()), ("content", pa.large_string())])
    return pa.schema([("prompt", pa.large_list(turn)), ("response", pa.large_list(turn))])


def build_responses(conversations: Iterable[tuple[Conversation, Conversation]]) -> pa.Table:
    """Build a table of responses from (prompt, response) pairs, in their order."""
    import pyarrow as pa

    pairs = iter(conversations)
    batches = []
    while some := list(islice(pairs, _ROWS_PER_CHUNK)):
        columns = [build_messages(column) for column in zip(*some, strict=True)]
        batches.append(pa.RecordBatch.from_arrays(columns, schema=responses_schema()))
    return pa.Table.from_batches(batches, responses_schema()).combine_chunks()


def build_messages(conversations: Sequence[Conversation]) -> pa.Array[Any]:
    """Build an Arrow column of conversations.

    It is built from flat columns of roles and contents, several times faster than from nested Python objects.
    """
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
    """Return the conversations in an Arrow column."""
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
    """Sort the responses in the rows `used` (int64 [m], increasing) by their texts, and merge equal responses.

    The sort key is the canonical JSON of the whole conversation (prompt and response), then the number of messages in
    the prompt. The order therefore does not depend on the order of the input. Conversations that begin with the same
    turns are adjacent, so that an encoder can process them together.

    Returns two arrays:

    - the rows that are kept, in sorted order (int64 [R]); of equal responses the first row is kept
    - for each row in `used`, the index of its response among the kept rows (int64 [m])
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
