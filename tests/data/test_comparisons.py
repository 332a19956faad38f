"""The table of comparisons: which columns it refuses, and that selecting keeps what belongs together."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lorerm.data.comparisons import Comparisons, as_strings
from lorerm.errors import DataError, UnknownUserError
from refusals import refused


def make(**changes):
    """Build three comparisons of two users over four responses, with some columns changed."""
    columns = {"chosen": [0, 2, 1], "rejected": [1, 3, 2], "user_ids": ["b", "a", "b"]}
    return Comparisons.from_columns(**{**columns, **changes})


def test_columns_stay_as_given():
    chosen = np.array([0, 2, 1])
    table = make(chosen=chosen, prompt_ids=["p", "q", "r"])
    assert table.chosen is chosen
    assert table.user_ids.tolist() == ["b", "a", "b"]
    assert table.prompt_ids.tolist() == ["p", "q", "r"]
    assert table.weights.tolist() == [1.0, 1.0, 1.0]
    assert table.splits is None
    assert len(table) == 3


@pytest.mark.parametrize(
    "kind", [list, np.asarray, pd.Series, pa.array, lambda column: pa.chunked_array([column[:1], column[1:]])]
)
def test_columns_of_other_libraries(kind):
    ids = np.array(["u", "v", "u"], dtype=object)
    table = Comparisons.from_columns(
        kind(np.array([0, 1, 2])), kind(np.array([1, 2, 3])), kind(ids), kind(ids), kind(np.ones(3)), kind(ids)
    )
    assert [rows.tolist() for rows in table.rows()] == [[0, 1, 2], [1, 2, 3]]
    assert table.index_users()[0] == ("u", "v")
    assert list(table.select(slice(1, None)).user_ids) == ["v", "u"]
    assert list(table.splits) == list(table.prompt_ids) == ["u", "v", "u"]


def test_the_printed_form_has_sizes_only():
    assert repr(make()) == "Comparisons(comparisons=3)"


def test_without_prompt_ids_the_unordered_pair_of_responses_is_the_unit():
    table = make(chosen=[0, 1, 2], rejected=[1, 0, 3])
    assert list(table.prompt_ids) == ["0_1", "0_1", "2_3"]
    part = table.select(np.array([2, 1]))
    assert list(part.prompt_ids) == ["2_3", "0_1"]
    assert list(table.prompt_ids[1:]) == ["0_1", "2_3"]
    assert list(part.select(np.array([1])).prompt_ids) == ["0_1"]


@pytest.mark.parametrize(
    ("changes", "argument", "name"),
    [
        ({"rejected": [1, 3]}, "rejected", "2"),
        ({"user_ids": ["a"]}, "user_ids", "1"),
        ({"prompt_ids": ["a"]}, "prompt_ids", "1"),
        ({"weights": [1.0]}, "weights", "1"),
        ({"splits": ["train"]}, "splits", "1"),
        ({"chosen": [0, 3, 1]}, "rejected", "row 3"),
        ({"chosen": [0.0, 2.0, 1.0]}, "chosen", "float64"),
        ({"rejected": [[1], [3], [2]]}, "rejected", "(3, 1)"),
        ({"chosen": [], "rejected": [], "user_ids": []}, "chosen", "no comparisons"),
        ({"weights": [1.0, 0.0, 1.0]}, "weights", "weights[1]"),
        ({"weights": [1.0, 1.0, float("nan")]}, "weights", "weights[2]"),
    ],
)
def test_bad_columns_are_refused_with_the_first_bad_index(changes, argument, name):
    with refused(DataError, name, argument=argument):
        make(**changes)


@pytest.mark.parametrize(
    ("changes", "argument", "name"),
    [({"chosen": [0, 4, 1]}, "chosen", "chosen[1] is row 4"), ({"rejected": [1, 3, -1]}, "rejected", "rejected[2]")],
)
def test_rows_outside_of_the_responses_are_refused(changes, argument, name):
    make().check_rows(4)
    with refused(DataError, name, argument=argument):
        make(**changes).check_rows(4)


@pytest.mark.parametrize("indices", [[2, 0], torch.tensor([2, 0]), pd.Series([2, 0]), [-1, -3]])
def test_select_keeps_what_belongs_together(indices):
    table = make(prompt_ids=["p", "q", "r"], weights=[1, 2, 3], splits=["train", "test", "train"])
    part = table.select(indices)
    assert [list(column) for column in (part.chosen, part.rejected, part.user_ids, part.prompt_ids, part.splits)] == [
        [1, 0],
        [2, 1],
        ["b", "b"],
        ["r", "p"],
        ["train", "train"],
    ]
    assert part.weights.tolist() == [3.0, 1.0]
    assert len(table) == 3


def test_comparisons_are_indexed_as_they_are_selected():
    table = make()
    assert table[[True, False, True]].chosen.tolist() == table.select([0, 2]).chosen.tolist() == [0, 1]
    assert table[1:].chosen.tolist() == [2, 1]


def test_the_comparisons_of_some_users_can_be_left_out():
    assert list(make(user_ids=["b", "a", "c"]).without_users(["b"]).user_ids) == ["a", "c"]
    assert len(make().without_users(["a", "b"])) == 0
    assert list(make(user_ids=[7, 7, 8]).without_users([7.0]).user_ids) == ["8"]


def test_a_user_who_is_not_there_cannot_be_left_out_unless_that_is_said():
    with refused(UnknownUserError, "'z'", argument="user_ids"):
        make().without_users(["b", "z"])
    with refused(DataError, argument="user_ids"):
        make().without_users("ab")
    assert list(make().without_users(["b", "z"], missing_ok=True).user_ids) == ["a"]


def test_select_may_take_nothing():
    assert len(make().select(np.array([], dtype=np.int64))) == 0


def test_ids_are_read_as_everywhere():
    table = make(user_ids=pd.Series([7.0, 8.0, 7.0]), prompt_ids=["1", 1, 2.0])
    assert list(table.user_ids) == ["7", "8", "7"]
    assert list(table.prompt_ids) == ["1", "1", "2"]
    with refused(DataError, "prompt_ids[0]", argument="prompt_ids"):
        make(prompt_ids=[("post", 1), "1", 1])
    with refused(DataError, argument="user_ids"):
        make(user_ids="bab")


def test_with_splits_replaces_the_column():
    table = make(splits=["train", "train", "test"])
    labelled = table.with_splits(["train_seen", None, "unused"])
    assert labelled.splits.tolist() == ["train_seen", None, "unused"]
    assert list(table.splits) == ["train", "train", "test"]
    with refused(DataError, "2", "3", argument="labels"):
        table.with_splits(["train", "test"])
    with refused(DataError, "other", column="split"):
        table.with_splits(["train", "test", "other"])


@given(st.lists(st.sampled_from("cab"), min_size=1, max_size=12))
@settings(deadline=None)
def test_users_are_indexed_by_first_appearance(users):
    n = len(users)
    names, index = make(chosen=[0] * n, rejected=[1] * n, user_ids=users).index_users()
    assert names == tuple(dict.fromkeys(users))
    assert [names[i] for i in index] == users


def test_many_users_are_indexed_in_blocks(monkeypatch):
    monkeypatch.setattr("lorerm.data.comparisons._NUMBERED_ROWS", 2)
    table = make(chosen=[0] * 5, rejected=[1] * 5, user_ids=np.array(["b", "a", "c", "a", "b"]))
    names, index = table.index_users()
    assert names == ("b", "a", "c")
    assert index.tolist() == [0, 1, 2, 1, 0]


def test_a_response_is_described_by_the_first_comparison_about_it():
    table = make(prompt_ids=["p", "q", "r"])
    assert table.describe_response(1) == "the rejected response of user 'b' to prompt 'p'"
    assert table.describe_response(2) == "the chosen response of user 'a' to prompt 'q'"
    assert "9" in table.describe_response(9)


def test_equal_strings_become_one_object():
    found = as_strings(iter(["".join(["a", "b"]), None, "".join(["a", "b"])]))
    assert found.tolist() == ["ab", None, "ab"]
    assert found[0] is found[2]
