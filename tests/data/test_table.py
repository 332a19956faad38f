"""The self-contained table of comparisons, built from a table of responses and read back."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorerm.data import table
from lorerm.data.preferences import Preferences
from lorerm.data.responses import read_messages
from lorerm.data.schema import Comparison
from lorerm.data.table import build_table, read_table, schema
from lorerm.errors import DataError
from refusals import refused

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
conversations = st.lists(st.fixed_dictionaries({"role": texts, "content": texts}), min_size=1, max_size=3).map(tuple)
comparisons = st.builds(
    Comparison, texts, texts, conversations, conversations, conversations, st.none() | texts, st.floats(1, 2)
)


@given(st.lists(comparisons, max_size=7))
@settings(max_examples=50, deadline=None)
def test_comparisons_come_back_unchanged_from_tables_of_any_chunks(tmp_path_factory, some):
    preferences = Preferences.from_comparisons(some)
    before = table._ROWS_PER_CHUNK, table._ROWS_READ
    table._ROWS_PER_CHUNK, table._ROWS_READ = 3, 2
    try:
        built = build_table(preferences, preferences.responses)
        path = tmp_path_factory.mktemp("table") / "t.parquet"
        pq.write_table(built, path)
        assert list(read_table(path)) == some
    finally:
        table._ROWS_PER_CHUNK, table._ROWS_READ = before
    assert built.schema == schema()
    for column in ("prompt", "chosen", "rejected"):
        assert read_messages(built[column]) == [getattr(one, column) for one in some]


def test_missing_values_are_refused(tmp_path):
    path = tmp_path / "a.parquet"
    row = {"user_id": "u", "prompt": "q", "chosen": "a", "rejected": "b"}
    built = Preferences.from_records([row]).table
    pq.write_table(built.set_column(0, "user_id", pa.array([None], pa.string())), path)
    with refused(DataError, file=str(path), column="user_id"):
        list(read_table(path))


def test_other_columns_are_refused(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"user_id": ["a"]}), path)
    with refused(DataError, "user_id", file=str(path)):
        list(read_table(path))


@pytest.mark.parametrize("content", [None, b"rubbish", b"PAR1"])
def test_missing_and_unreadable_files_are_refused(tmp_path, content):
    path = tmp_path / "a.parquet"
    if content is not None:
        path.write_bytes(content)
    with refused(DataError, file=str(path)):
        list(read_table(path))
