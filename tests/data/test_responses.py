"""Tables of responses: texts come back unchanged, equal ones are one row, and the order depends on the texts alone."""

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from lorerm.data import responses
from lorerm.data.responses import (
    build_messages,
    build_responses,
    canonical_order,
    read_messages,
    read_responses,
    responses_schema,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
conversations = st.lists(st.fixed_dictionaries({"role": texts, "content": texts}), min_size=1, max_size=3).map(tuple)


def turns(*contents):
    roles = ("user", "assistant") * len(contents)
    return tuple({"role": role, "content": content} for role, content in zip(roles, contents, strict=False))


def response(text):
    return ({"role": "assistant", "content": text},)


@given(st.lists(st.tuples(conversations, conversations), max_size=7))
@settings(max_examples=50, deadline=None)
def test_texts_come_back_unchanged_from_tables_of_any_chunks(pairs):
    before, responses._ROWS_PER_CHUNK = responses._ROWS_PER_CHUNK, 3
    try:
        table = build_responses(pairs)
        assert list(read_responses(table)) == pairs
    finally:
        responses._ROWS_PER_CHUNK = before
    assert table.schema == responses_schema()
    assert list(read_responses(table.slice(2))) == pairs[2:]


@given(st.lists(conversations, min_size=1, max_size=5))
@settings(max_examples=30, deadline=None)
def test_columns_of_messages_with_offsets_of_either_size(some):
    column = pa.chunked_array([build_messages(some)])
    assert read_messages(column) == some
    small = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    assert read_messages(column.cast(small)) == some


def order_of(pairs, used=None):
    table = build_responses(pairs)
    order, row = canonical_order(table, np.arange(len(pairs)) if used is None else np.array(used))
    return order.tolist(), row.tolist()


def test_responses_are_sorted_by_their_conversation_and_equal_ones_merged():
    pairs = [(turns(prompt), response(text)) for prompt, text in ("qa", "pc", "pa", "qa", "pb")]
    assert order_of(pairs) == ([2, 4, 1, 0], [3, 2, 0, 3, 1])
    assert order_of(pairs, [0, 2, 3]) == ([2, 0], [1, 0, 1])


def test_of_equal_conversations_the_shorter_prompt_is_first():
    whole = turns("q", "a", "q", "b")
    assert order_of([(whole[:3], whole[3:]), (whole[:1], whole[1:])]) == ([1, 0], [1, 0])


def test_conversations_that_begin_alike_are_adjacent():
    dialogue = turns("m", "x", "m")
    pairs = [(turns("a"), response("1")), (dialogue, response("3")), (turns("z"), response("6"))]
    pairs += [(dialogue, response("4")), (turns("m"), response("x")), (turns("m"), response("5"))]
    order, _ = order_of(pairs)
    assert set(order[1:5]) == {1, 3, 4, 5}
