import copy
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorerm.data.preferences import Preferences, ReadingSummary
from lorerm.errors import DataError, RunError

texts = st.text(max_size=8)
full_texts = texts.filter(str.strip)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=3).filter(str.strip) | st.integers()


def as_messages(text, role):
    return [{"role": role, "content": text}]


@st.composite
def rows(draw):
    """Rows that keep the contract, in strings or messages."""
    chosen, rejected = draw(st.lists(st.text("ab\ud800é\n", max_size=5), min_size=2, max_size=2, unique_by=str.strip))
    row = {"user_id": draw(names), "prompt": draw(full_texts), "chosen": chosen, "rejected": rejected}
    if draw(st.booleans()):
        row |= {side: as_messages(row[side], "assistant") for side in ("chosen", "rejected")}
    if draw(st.booleans()):
        row["prompt"] = as_messages(row["prompt"], "user")
    optional = {
        "prompt_id": st.none() | names,
        "split": st.sampled_from([None, "train", "test", "val"]),
        "weight": st.none() | st.floats(0.1, 10),
    }
    return row | {name: draw(values) for name, values in optional.items() if draw(st.booleans())}


def rowed(n=3):
    return Preferences.from_records(
        [{"user_id": f"u{i}", "prompt": f"q{i}", "chosen": "a", "rejected": "b", "split": "train"} for i in range(n)]
    )


@given(st.lists(rows(), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_every_row_in_contract_survives_every_way_round(tmp_path_factory, records):
    preferences = Preferences.from_records(records)
    assert len(preferences) == preferences.summary.n_rows == len(records)
    assert preferences.user_ids.tolist() == [str(record["user_id"]) for record in records]
    assert Preferences.from_dataset(preferences.to_trl()) == preferences
    path = tmp_path_factory.mktemp("round") / "a.parquet"
    preferences.write_parquet(path)
    assert Preferences.read_parquet(path) == preferences
    assert Preferences.from_files(path) == preferences
    for side in ("chosen", "rejected"):
        for prompt, response, whole in zip(
            preferences.messages("prompt"), preferences.messages(side), preferences.conversations(side), strict=True
        ):
            assert whole == prompt + response
            assert whole[-1]["role"] == "assistant"


@given(st.lists(rows(), min_size=1, max_size=4), st.data())
@settings(max_examples=40, deadline=None)
def test_one_bad_row_is_named(records, data):
    number = data.draw(st.integers(1, len(records)))
    column = data.draw(st.sampled_from(["user_id", "prompt", "chosen", "rejected"]))
    records[number - 1] = {**records[number - 1], column: None}
    with pytest.raises(DataError, match=f'^logs, row {number}: column "{column}" is '):
        Preferences.from_records(records, source="logs")


def test_order_and_repetition_are_kept():
    """A judgement made twice is two data, and one made both ways too."""
    row = {"user_id": "u", "prompt": "q", "chosen": "a", "rejected": "b"}
    back = {**row, "chosen": "b", "rejected": "a"}
    preferences = Preferences.from_records([row, back, row])
    assert [message[0]["content"] for message in preferences.messages("chosen")] == ["a", "b", "a"]


def test_columns_have_their_types():
    table = rowed().table
    assert table.schema.names == ["user_id", "prompt_id", "prompt", "chosen", "rejected", "split", "weight"]
    assert rowed().user_ids.dtype == rowed().prompt_ids.dtype == rowed().splits.dtype == object
    assert rowed().weights.dtype == np.float64


def test_ties_are_counted_and_said():
    judged = {"user_id": "u", "prompt": "q", "responses": ["a", "b", "c"], "ratings": [1, 1, 2]}
    preferences = Preferences.from_records([judged, {**judged, "ratings": [1, 1, 1]}])
    assert preferences.summary == ReadingSummary(n_rows=2, n_pairs=2, n_ties=4)
    assert preferences.summary.warnings()[0].endswith(": 4.")
    assert rowed().summary.warnings() == []
    with pytest.raises(DataError, match="every judgement is a tie"):
        Preferences.from_records([{**judged, "ratings": [1, 1, 1]}])


def test_no_rows():
    with pytest.raises(DataError, match="holds no rows"):
        Preferences.from_records([])


def test_select_takes_rows_in_the_order_asked_and_leaves_the_whole_alone():
    whole = rowed(4)
    assert whole.select([2, 0]).user_ids.tolist() == ["u2", "u0"]
    assert len(whole.select([])) == 0
    assert whole.select([]).user_ids.tolist() == whole.select([]).conversations("chosen") == []
    assert len(whole) == 4
    with pytest.raises((IndexError, pa.ArrowIndexError)):
        whole.select([4])


def test_with_splits():
    labelled = rowed().with_splits(["train_seen", None, "unused"])
    assert labelled.splits.tolist() == ["train_seen", None, "unused"]
    assert rowed().splits.tolist() == ["train"] * 3
    assert labelled.table.schema.names == rowed().table.schema.names
    with pytest.raises(DataError, match="2 split labels for 3 pairs"):
        rowed().with_splits(["train", "test"])
    with pytest.raises(DataError, match="'other'"):
        rowed().with_splits(["train", "test", "other"])


def test_equality_and_copies():
    assert rowed() == rowed()
    assert rowed() != rowed(4)
    assert pickle.loads(pickle.dumps(rowed())) == rowed()  # noqa: S301
    assert copy.deepcopy(rowed()) == rowed()


def test_equal_preferences_are_equal_bytes_however_they_came_about(tmp_path):
    whole = rowed(50)
    pieces = Preferences(pa.concat_tables([whole.table.slice(0, 7), whole.table.slice(7)]), whole.summary)
    for name, preferences in (("a", whole), ("b", pieces), ("c", whole.select(range(50)))):
        preferences.write_parquet(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()
    assert b"pandas" not in (tmp_path / "a").read_bytes()


def test_empty_preferences_are_written_and_read(tmp_path):
    rowed().select([]).write_parquet(tmp_path / "a.parquet")
    assert len(Preferences.read_parquet(tmp_path / "a.parquet")) == 0


def test_bad_parquet(tmp_path):
    path = tmp_path / "a.parquet"
    with pytest.raises(DataError, match="does not exist"):
        Preferences.read_parquet(path)
    path.write_bytes(b"rubbish")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        Preferences.read_parquet(path)
    pq.write_table(pa.table({"user_id": ["a"]}), path)
    with pytest.raises(DataError, match=r"not in the normal form .*\(columns found: user_id\)"):
        Preferences.read_parquet(path)
    table = rowed().table
    pq.write_table(table.set_column(0, "user_id", pa.array([None, "a", "b"], pa.string())), path)
    with pytest.raises(DataError, match='"user_id" has empty cells'):
        Preferences.read_parquet(path)


def test_missing_folder(tmp_path):
    with pytest.raises(RunError, match="make the folder"):
        rowed().write_parquet(tmp_path / "nowhere" / "a.parquet")


@pytest.mark.filterwarnings("default")  # what other libraries deprecate in each other is not ours
def test_trl_takes_the_data_set_for_conversational_preferences():
    data_utils = pytest.importorskip("trl.data_utils", reason="trl comes with the extra dev")
    rows = [{"user_id": "ann", "prompt": "Tea?", "chosen": "Yes.", "rejected": "No."}]
    found = Preferences.from_records(rows).to_trl()
    assert data_utils.is_conversational(found[0])
    assert {"prompt", "chosen", "rejected", "user_id"} <= set(found.column_names)
