from hypothesis import given, settings
from hypothesis import strategies as st

from lorerm.data import table
from lorerm.data.schema import Comparison
from lorerm.data.table import build_table, read_conversations, schema

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
conversations = st.lists(st.fixed_dictionaries({"role": texts, "content": texts}), min_size=1, max_size=3).map(tuple)
pairs = st.builds(
    Comparison, texts, texts, conversations, conversations, conversations, st.none() | texts, st.floats(1, 2)
)


@given(st.lists(pairs, max_size=7))
@settings(max_examples=50)
def test_what_goes_in_comes_out_in_whatever_chunks(some):
    before, table._ROWS_PER_CHUNK = table._ROWS_PER_CHUNK, 3
    try:
        built = build_table(some)
    finally:
        table._ROWS_PER_CHUNK = before
    assert built.schema == schema()
    for column in ("prompt", "chosen", "rejected"):
        assert read_conversations(built, column) == [getattr(pair, column) for pair in some]
        assert read_conversations(built.slice(2), column) == [getattr(pair, column) for pair in some[2:]]
    assert built["user_id"].to_pylist() == [pair.user_id for pair in some]
    assert built["split"].to_pylist() == [pair.split for pair in some]
