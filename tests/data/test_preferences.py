"""Comparisons with texts: every reader and writer keeps the rows, and errors name the row."""

import copy
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorerm.data import preferences as module
from lorerm.data import responses
from lorerm.data.account import ReadingSummary
from lorerm.data.comparisons import Comparisons
from lorerm.data.preferences import Preferences
from lorerm.data.responses import read_messages
from lorerm.data.schema import Comparison
from lorerm.errors import DataError, RunError
from refusals import refused

texts = st.text(max_size=8)
full_texts = texts.filter(str.strip)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=3).filter(str.strip) | st.integers()


def as_messages(text, role):
    return [{"role": role, "content": text}]


@st.composite
def rows(draw):
    """Rows that fulfil the contract, in strings or messages."""
    chosen, rejected = draw(st.lists(st.text("ab\ud800é\n", max_size=5), min_size=2, max_size=2, unique_by=str.strip))
    row = {"user_id": draw(names), "prompt": draw(full_texts), "chosen": chosen, "rejected": rejected}
    if draw(st.booleans()):
        row |= {side: as_messages(row[side], "assistant") for side in ("chosen", "rejected")}
    if draw(st.booleans()):
        row["prompt"] = as_messages(row["prompt"], "user")
    optional = {
        "split": st.sampled_from([None, "train", "test", "val"]),
        "weight": st.none() | st.floats(0.1, 10),
    }
    return row | {name: draw(values) for name, values in optional.items() if draw(st.booleans())}


@st.composite
def logs(draw, max_size=5):
    """Rows that fulfil the contract, with a prompt id in all rows or in no row."""
    records = draw(st.lists(rows(), min_size=1, max_size=max_size))
    return [record | {"prompt_id": draw(names)} for record in records] if draw(st.booleans()) else records


def rowed(n=3):
    return Preferences.from_records(
        [{"user_id": f"u{i}", "prompt": f"q{i}", "chosen": "a", "rejected": "b", "split": "train"} for i in range(n)]
    )


@given(logs())
@settings(max_examples=60, deadline=None)
def test_every_valid_row_survives_every_way_in_and_out(tmp_path_factory, records):
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


@given(logs(max_size=4), st.data())
@settings(max_examples=40, deadline=None)
def test_a_bad_row_is_named(records, data):
    number = data.draw(st.integers(1, len(records)))
    column = data.draw(st.sampled_from(["user_id", "prompt", "chosen", "rejected"]))
    records[number - 1] = {**records[number - 1], column: None}
    with refused(DataError, file="logs", row=number, column=column):
        Preferences.from_records(records, source="logs")


def test_order_and_repetition_are_kept():
    """A comparison made twice counts twice, also if it was made both ways."""
    row = {"user_id": "u", "prompt": "q", "chosen": "a", "rejected": "b"}
    back = {**row, "chosen": "b", "rejected": "a"}
    preferences = Preferences.from_records([row, back, row])
    assert [message[0]["content"] for message in preferences.messages("chosen")] == ["a", "b", "a"]


def test_columns_have_their_types():
    table = rowed().table
    assert table.schema.names == ["user_id", "prompt_id", "prompt", "chosen", "rejected", "split", "weight"]
    assert rowed().user_ids.dtype == rowed().prompt_ids.dtype == rowed().splits.dtype == object
    assert rowed().weights.dtype == np.float64


def test_ties_are_counted_and_reported():
    judged = {"user_id": "u", "prompt": "q", "responses": ["a", "b", "c"], "ratings": [1, 1, 2]}
    preferences = Preferences.from_records([judged, {**judged, "ratings": [1, 1, 1]}])
    assert preferences.summary == ReadingSummary(n_rows=2, n_pairs=2, n_ties=4)
    assert preferences.summary.warnings()[0].endswith(": 4.")
    assert rowed().summary.warnings() == []
    with refused(DataError, "tie", file="records"):
        Preferences.from_records([{**judged, "ratings": [1, 1, 1]}])


def test_an_input_without_rows_is_refused():
    with refused(DataError, "no rows"):
        Preferences.from_records([])


def test_select_takes_comparisons_in_the_order_given():
    whole = rowed(4)
    assert whole.select([2, 0]).user_ids.tolist() == ["u2", "u0"]
    assert len(whole.select([])) == 0
    assert whole.select([]).user_ids.tolist() == whole.select([]).conversations("chosen") == []
    assert len(whole) == 4
    with refused(DataError, "4", argument="indices"):
        whole.select([4])


def test_with_splits():
    labelled = rowed().with_splits(["train_seen", None, "unused"])
    assert labelled.splits.tolist() == ["train_seen", None, "unused"]
    assert rowed().splits.tolist() == ["train"] * 3
    assert labelled.table.schema.names == rowed().table.schema.names


def test_equality_and_copies():
    assert rowed() == rowed()
    assert rowed() != rowed(4)
    assert pickle.loads(pickle.dumps(rowed())) == rowed()  # noqa: S301
    assert copy.deepcopy(rowed()) == rowed()


def test_equal_preferences_give_equal_bytes_however_they_came_about(tmp_path):
    whole = rowed(50)
    backwards = whole.select(range(49, -1, -1)).canonical()
    for name, preferences in (("a", whole), ("b", whole.canonical()), ("c", backwards.select(range(49, -1, -1)))):
        preferences.write_parquet(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()
    assert b"pandas" not in (tmp_path / "a").read_bytes()


def test_empty_preferences_are_written_and_read(tmp_path):
    rowed().select([]).write_parquet(tmp_path / "a.parquet")
    assert len(Preferences.read_parquet(tmp_path / "a.parquet")) == 0


any_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
conversations = st.lists(st.fixed_dictionaries({"role": any_texts, "content": any_texts}), min_size=1, max_size=3)
comparisons = st.builds(
    Comparison,
    any_texts,
    any_texts,
    *[conversations.map(tuple)] * 3,
    st.none() | any_texts,
    st.floats(1, 2),
)


@given(st.lists(comparisons, max_size=7))
@settings(max_examples=50, deadline=None)
def test_comparisons_come_back_unchanged_from_tables_of_any_chunks(tmp_path_factory, some):
    before = module._ROWS_PER_CHUNK, module._ROWS_READ
    module._ROWS_PER_CHUNK, module._ROWS_READ = 3, 2
    try:
        preferences = Preferences.from_comparisons(some)
        path = tmp_path_factory.mktemp("table") / "t.parquet"
        preferences.write_parquet(path)
        assert list(module._read_table(path)) == some
        assert Preferences.read_parquet(path) == preferences
        table = preferences.table
    finally:
        module._ROWS_PER_CHUNK, module._ROWS_READ = before
    for column in ("prompt", "chosen", "rejected"):
        assert read_messages(table[column]) == preferences.messages(column) == [getattr(one, column) for one in some]


def test_missing_values_are_refused(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(rowed(1).table.set_column(0, "user_id", pa.array([None], pa.string())), path)
    with refused(DataError, file=str(path), column="user_id"):
        Preferences.read_parquet(path)


def test_other_columns_are_refused(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"user_id": ["a"]}), path)
    with refused(DataError, "user_id", file=str(path)):
        Preferences.read_parquet(path)


@pytest.mark.parametrize("content", [None, b"rubbish", b"PAR1"])
def test_missing_and_unreadable_files_are_refused(tmp_path, content):
    path = tmp_path / "a.parquet"
    if content is not None:
        path.write_bytes(content)
    with refused(DataError, file=str(path)):
        Preferences.read_parquet(path)


def test_a_missing_folder_is_refused(tmp_path):
    with refused(RunError, str(tmp_path / "nowhere")):
        rowed().write_parquet(tmp_path / "nowhere" / "a.parquet")


@pytest.mark.filterwarnings("default")  # what other libraries deprecate in each other is not ours
def test_trl_takes_the_data_set_for_conversational_preferences():
    data_utils = pytest.importorskip("trl.data_utils", reason="trl comes with the extra dev")
    rows = [{"user_id": "ann", "prompt": "Tea?", "chosen": "Yes.", "rejected": "No."}]
    found = Preferences.from_records(rows).to_trl()
    assert data_utils.is_conversational(found[0])
    assert {"prompt", "chosen", "rejected", "user_id"} <= set(found.column_names)


def test_each_response_is_kept_once():
    rows = [
        {"user_id": user, "prompt": f"q{n}", "chosen": "a", "rejected": "b" if user == "u" else "c"}
        for user in "uv"
        for n in range(3)
    ]
    preferences = Preferences.from_records(rows)
    assert len(preferences.responses) == 9
    assert preferences.chosen.tolist() == [0, 2, 4, 0, 2, 4]
    assert repr(preferences) == "Preferences(comparisons=6, responses=9)"


def turns(*contents):
    return tuple({"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(contents))


def compare(*pairs):
    """Build comparisons from (prompt, chosen, rejected) triples."""
    return Preferences.from_comparisons(Comparison("u", "p", *pair, None, 1.0) for pair in pairs)


def test_responses_are_numbered_by_first_appearance(monkeypatch):
    monkeypatch.setattr(responses, "_ROWS_PER_CHUNK", 2)
    p, q, a, b = turns("p"), turns("q"), turns("a"), turns("b")
    found = compare((p, a, b), (q, a, b), (p, b, a))
    assert [rows.tolist() for rows in found.rows()] == [[0, 2, 1], [1, 3, 0]]
    assert found.responses["response"].to_pylist() == [list(one) for one in (a, b, a, b)]


def test_turns_are_not_joined():
    """One turn "ab" is not two turns "a" and "b"."""
    two = ({"role": "user", "content": "a"}, {"role": "user", "content": "b"})
    found = compare((two, turns("x"), turns("y")), (turns("ab"), turns("x"), turns("y")))
    assert found.chosen.tolist() == [0, 2]


def test_the_same_conversation_with_another_prompt_is_another_row():
    """Its embedding is the same, but not what the response replies to."""
    whole, other = turns("q", "a", "q", "b"), turns("c")
    found = compare(*[(whole[:n], whole[n:], other) for n in (1, 3, 1)])
    assert found.chosen.tolist() == [0, 2, 0]


def test_a_string_and_a_message_are_one_response():
    """The data contract takes both for the same."""
    row = {"user_id": "u", "prompt": "q", "chosen": "a", "rejected": "b"}
    assert len(Preferences.from_records([row, {**row, "prompt": as_messages("q", "user")}]).responses) == 2


SHOWN = [(f"Prompt {p}?", f"Response {i} to {p}") for p in range(6) for i in range(3)]


def over_shown_responses():
    """Comparisons of five users between the same responses, one of which no comparison is about."""
    user, prompt = np.repeat(np.arange(5), 6), np.tile(np.arange(6), 5)
    chosen, rejected = 3 * prompt + user % 2, 3 * prompt + 1 - user % 2
    comparisons = Comparisons.from_columns(chosen, rejected, [f"u{u}" for u in user], [f"p{p}" for p in prompt])
    return Preferences.from_responses(SHOWN, comparisons, n_ties=2)


def test_preferences_over_a_list_of_responses_are_those_of_rows_with_their_texts():
    shared = over_shown_responses()
    assert len(shared.responses) == 18
    assert shared.summary == ReadingSummary(n_rows=32, n_pairs=30, n_ties=2)
    copied = Preferences.from_records(
        {
            "user_id": user,
            "prompt_id": prompt,
            "prompt": SHOWN[better][0],
            "chosen": SHOWN[better][1],
            "rejected": SHOWN[worse][1],
        }
        for user, prompt, better, worse in zip(
            shared.user_ids, shared.prompt_ids, shared.chosen, shared.rejected, strict=True
        )
    )
    assert shared == copied
    assert len(shared.canonical().responses) == len(copied.canonical().responses) == 12
    assert shared.canonical().chosen.tolist() == copied.canonical().chosen.tolist()


def test_a_list_of_responses_is_checked():
    comparisons = Comparisons.from_columns([0], [18], ["u"])
    with refused(DataError, "rejected[0] is row 18", argument="rejected"):
        Preferences.from_responses(SHOWN, comparisons)
    with refused(DataError, "prompt of response 0"):
        Preferences.from_responses([(" ", "a"), ("q", "a")], Comparisons.from_columns([0], [1], ["u"]))


@given(logs(), st.randoms())
@settings(max_examples=40, deadline=None)
def test_canonical_order_changes_no_comparison_and_not_with_the_order_of_the_input(records, random):
    preferences = Preferences.from_records(records)
    assert preferences.canonical() == preferences
    order = list(range(len(records)))
    random.shuffle(order)
    shuffled = Preferences.from_records([records[i] for i in order])
    assert shuffled.canonical().responses.equals(preferences.canonical().responses)
    assert shuffled.canonical().chosen.tolist() == preferences.canonical().chosen[order].tolist()


ROW = {"user_id": "u", "prompt": "Tell me of bread.", "chosen": "a", "rejected": "b"}


@pytest.mark.parametrize("lacking", [None, "", " ", float("nan")])
def test_prompt_id_is_given_in_all_rows_or_in_none(lacking):
    """Otherwise the prompt of rows without an id gets an id of its own, and can be in both train and test."""
    with refused(DataError, "2", "3", file="records", row=2, column="prompt_id"):
        Preferences.from_records([ROW | {"prompt_id": one} for one in ("p", lacking, lacking)])
    assert Preferences.from_records([ROW | {"prompt_id": lacking}, ROW]).prompt_ids.tolist()[0]


def test_repeated_comparisons_are_counted_and_kept():
    other = [{**ROW, "user_id": "v"}, {**ROW, "prompt": "Tell me of tea."}, {**ROW, "chosen": "b", "rejected": "a"}]
    preferences = Preferences.from_records([ROW, ROW, *other, ROW])
    assert len(preferences) == 6
    assert preferences.summary.n_repeated == 2
    (sentence,) = preferences.summary.warnings()
    assert ": 2." in sentence


def test_texts_of_prompts_are_compared_without_white_space_and_unicode_forms():
    prompts = [
        "Tell me of  caf\u00e9.",
        " Tell me of cafe\u0301.\n",
        "Tell me of tea.",
        as_messages("Tell me of tea.", "user"),
    ]
    found = Preferences.from_records({**ROW, "prompt": prompt} for prompt in prompts).index_prompt_texts()
    assert found.tolist() == [0, 0, 1, 1]
