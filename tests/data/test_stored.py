"""Comparisons and responses in a run folder: read back unchanged, in equal bytes, in parts, and forgotten."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lorerm.data import stored
from lorerm.data.comparisons import Comparisons
from lorerm.data.preferences import Preferences
from lorerm.data.stored import (
    COMPARISONS,
    RESPONSES,
    StoredResponses,
    forget_users,
    load_comparisons,
    load_preferences,
    write_comparisons,
    write_preferences,
)
from lorerm.errors import RunError
from refusals import refused
from small_choices import choices, contents

COLUMNS = ("user_ids", "prompt_ids", "chosen", "rejected", "weights", "splits")


@pytest.fixture
def preferences():
    rows = [{**row, "weight": 1 + i % 2} for i, row in enumerate(choices())]
    return Preferences.from_records(rows).with_splits(["train_seen", "test_seen"] * 60)


def test_preferences_are_read_back(tmp_path, preferences):
    write_preferences(tmp_path, preferences)
    assert load_preferences(tmp_path) == preferences
    comparisons, expected = load_comparisons(tmp_path), preferences.canonical()
    for name in COLUMNS:
        assert list(getattr(comparisons, name)) == list(getattr(expected, name)), name


def test_equal_preferences_give_equal_bytes(tmp_path, preferences):
    order = np.random.default_rng(0).permutation(len(preferences))
    shuffled = Preferences.from_comparisons(stored_rows(preferences, order))
    for name, some in (("a", preferences), ("b", shuffled.select(np.argsort(order)))):
        (tmp_path / name).mkdir()
        write_preferences(tmp_path / name, some)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def stored_rows(preferences, order):
    """Give the comparisons in another order, in which responses appear in another order too."""
    from lorerm.data.schema import Comparison

    some = preferences.select(order)
    texts = [some.messages(column) for column in ("prompt", "chosen", "rejected")]
    return map(Comparison._make, zip(some.user_ids, some.prompt_ids, *texts, some.splits, some.weights, strict=True))


def test_splits_may_be_missing(tmp_path):
    columns = {"chosen": [0, 1], "rejected": [1, 0], "user_ids": ["ü", "v"]}
    for splits, expected in ((None, None), (["train", None], ["train", None])):
        write_comparisons(tmp_path, Comparisons.from_columns(**columns, splits=splits))
        found = load_comparisons(tmp_path)
        assert (None if found.splits is None else list(found.splits)) == expected
        assert list(found.user_ids) == ["ü", "v"]
        assert list(found.prompt_ids) == ["0_1", "0_1"]


@pytest.mark.parametrize("rows", [slice(0, 30), slice(0, 1), slice(6, 8), slice(7, 23), slice(29, 30)])
def test_responses_are_read_some_rows_at_a_time(tmp_path, preferences, monkeypatch, rows):
    monkeypatch.setitem(stored._ROWS_PER_GROUP, RESPONSES, 7)
    write_preferences(tmp_path, preferences)
    found = StoredResponses(tmp_path)
    assert len(found) == 30
    ordered = preferences.canonical()
    expected = dict(zip(ordered.chosen.tolist(), ordered.conversations("chosen"), strict=True))
    expected |= dict(zip(ordered.rejected.tolist(), ordered.conversations("rejected"), strict=True))
    assert found.conversations(rows) == [expected[row] for row in range(rows.start, rows.stop)]


def test_users_are_forgotten_with_the_texts_that_only_they_compared(tmp_path, preferences):
    own = {"user_id": "user-01", "prompt": "The quokka?", "chosen": "A quokka.", "rejected": "No."}
    rows = [{**own}, *choices()]
    write_preferences(tmp_path, Preferences.from_records(rows))
    before = StoredResponses(tmp_path).conversations(slice(0, 32))
    n_own = sum(row["user_id"] == "user-01" for row in rows)
    assert forget_users(tmp_path, ["user-01"]) == n_own
    found = load_comparisons(tmp_path)
    assert list(found.user_ids) == [row["user_id"] for row in rows if row["user_id"] != "user-01"]
    after = StoredResponses(tmp_path).conversations(slice(0, 32))
    blank = [one[0]["content"] for one, left in zip(before, after, strict=True) if not left]
    assert blank == ["The quokka?"] * 2
    assert [left for left in after if left] == [one for one in before if one[0]["content"] != "The quokka?"]
    assert load_preferences(tmp_path).canonical().select([]) == load_preferences(tmp_path).select([])
    assert forget_users(tmp_path, ["user-01"]) == 0


def test_comparisons_without_texts_are_forgotten_too(tmp_path):
    write_comparisons(tmp_path, Comparisons.from_columns([0, 1], [1, 0], ["u", "v"]))
    assert forget_users(tmp_path, ["u"]) == 1
    assert list(load_comparisons(tmp_path).user_ids) == ["v"]
    assert not (tmp_path / RESPONSES).exists()


@pytest.mark.parametrize("name", [COMPARISONS, RESPONSES])
@pytest.mark.parametrize("content", [None, b"", b"PAR1", b"x" * 100, "other columns"])
def test_missing_and_damaged_files_are_named(tmp_path, preferences, name, content):
    write_preferences(tmp_path, preferences)
    (tmp_path / name).unlink()
    if content == "other columns":
        pq.write_table(pa.table({"user_id": ["u"]}), tmp_path / name)
    elif content is not None:
        (tmp_path / name).write_bytes(content)
    with refused(RunError, file=str(tmp_path / name)):
        load_preferences(tmp_path)


def test_damage_inside_the_file_shows_when_rows_are_read(tmp_path, preferences):
    write_preferences(tmp_path, preferences)
    path = tmp_path / RESPONSES
    content = bytearray(path.read_bytes())
    content[4:200] = bytes(196)
    path.write_bytes(content)
    with refused(RunError, file=str(path)):
        StoredResponses(tmp_path).conversations(slice(0, 30))
