"""The embedded form of preferences: what it refuses, and that selecting and indexing keep what belongs together."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lorerm.embedding.embedded_preferences import EmbeddedPreferences
from lorerm.embedding.matrices import as_reference, as_tensor
from lorerm.errors import DataError

RESPONSES = np.arange(12, dtype=np.float32).reshape(4, 3)


def make(**changes):
    """Build three comparisons of two users over four responses, with some arguments changed."""
    arguments = {"responses": RESPONSES, "chosen": [0, 2, 1], "rejected": [1, 3, 2], "user_ids": ["b", "a", "b"]}
    return EmbeddedPreferences.from_arrays(**{**arguments, **changes})


def test_arrays_stay_as_given():
    chosen = np.array([0, 2, 1])
    data = make(chosen=chosen, prompt_ids=["p", "q", "r"])
    assert data.responses is RESPONSES
    assert data.chosen is chosen
    assert data.user_ids == ["b", "a", "b"]
    assert data.prompt_ids == ["p", "q", "r"]
    assert (len(data), data.dimension) == (3, 3)
    assert data.weights.tolist() == [1.0, 1.0, 1.0]


def test_printed_it_tells_sizes_alone():
    assert repr(make()) == "EmbeddedPreferences(comparisons=3, responses=4, dimension=3)"


def test_without_prompt_ids_the_unordered_pair_of_responses_is_the_unit():
    data = make(chosen=[0, 1, 2], rejected=[1, 0, 3])
    assert list(data.prompt_ids) == ["0_1", "0_1", "2_3"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"responses": np.ones(3)}, r"responses has shape \(3,\)"),
        ({"responses": np.ones((0, 3))}, r"responses has shape \(0, 3\)"),
        ({"rejected": [1, 3]}, "rejected has 2 entries, chosen has 3"),
        ({"user_ids": ["a"]}, "user_ids has 1 entries, chosen has 3"),
        ({"prompt_ids": ["a"]}, "prompt_ids has 1 entries, chosen has 3"),
        ({"weights": [1.0]}, "weights has 1 entries, chosen has 3"),
        ({"chosen": [0, 4, 1]}, r"chosen\[1\] is row 4, but responses has rows 0 to 3"),
        ({"rejected": [1, 3, -1]}, r"rejected\[2\] is row -1"),
        ({"chosen": [0, 3, 1]}, "comparison 1 has row 3 as both chosen and rejected"),
        ({"chosen": [0.0, 2.0, 1.0]}, "chosen has dtype float64"),
        ({"chosen": [], "rejected": [], "user_ids": []}, "there are no comparisons"),
        ({"weights": [1.0, 0.0, 1.0]}, r"weights\[1\] is 0.0"),
        ({"weights": [1.0, 1.0, float("nan")]}, r"weights\[2\] is nan"),
        ({"reference": np.ones(2)}, "reference has 2 entries, responses have dimension 3"),
        ({"reference": np.array([1.0, np.nan, 1.0])}, "reference holds NaN"),
    ],
)
def test_refuses_and_names_the_first_bad_place(changes, problem):
    with pytest.raises(DataError, match=problem):
        make(**changes)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor, lambda rows: torch.as_tensor(rows).bfloat16()])
def test_refuses_values_that_are_not_finite_and_names_the_row(bad, kind):
    responses = RESPONSES.copy()
    responses[2, 1] = bad
    with pytest.raises(DataError, match="responses row 2 holds"):
        make(responses=kind(responses))


def test_the_first_bad_row_is_found_beyond_the_first_block(monkeypatch):
    monkeypatch.setattr("lorerm.embedding.matrices._CHECKED_ELEMENTS", 6)
    responses = RESPONSES.copy()
    responses[3, 0] = np.nan
    with pytest.raises(DataError, match="responses row 3 holds"):
        make(responses=responses)


def test_takes_arrays_that_may_only_be_read():
    """A mapped file is read-only; torch would warn of each."""
    responses = RESPONSES.copy()
    responses.flags.writeable = False
    assert make(responses=responses).dimension == 3
    assert as_tensor(responses).data_ptr() == responses.ctypes.data


@pytest.mark.parametrize(
    "head",
    [
        [1, 2, 3],
        np.array([[1.0, 2.0, 3.0]]),
        torch.tensor([1.0, 2.0, 3.0], dtype=torch.bfloat16),
        torch.nn.Parameter(torch.tensor([[1.0, 2.0, 3.0]])),
    ],
)
def test_reference_heads_come_in_any_form(head):
    """A reward model's own `score.weight` is a bfloat16 parameter [1, D]."""
    reference = make(reference=head).reference
    assert reference.dtype == np.float32
    assert reference.tolist() == [1.0, 2.0, 3.0]
    assert as_reference(head, 3).tolist() == [1.0, 2.0, 3.0]


def test_select_keeps_what_belongs_together():
    data = make(prompt_ids=["p", "q", "r"], weights=[1, 2, 3], splits=["train", "test", "train"], reference=[1, 2, 3])
    part = data.select(np.array([2, 0]))
    assert [list(column) for column in (part.chosen, part.rejected, part.user_ids, part.prompt_ids, part.splits)] == [
        [1, 0],
        [2, 1],
        ["b", "b"],
        ["r", "p"],
        ["train", "train"],
    ]
    assert part.weights.tolist() == [3.0, 1.0]
    assert part.responses is data.responses
    assert part.reference is data.reference
    assert len(data) == 3


def test_select_may_take_nothing():
    assert len(make().select(np.array([], dtype=np.int64))) == 0


def test_prompt_ids_of_any_kind_survive_a_selection():
    """NumPy alone would turn tuples into rows of a matrix, and 1 and "1" into one."""
    ids = [("post", 1), "1", 1]
    assert list(make(prompt_ids=ids).select(np.array([0, 1, 2])).prompt_ids) == ids


@given(st.lists(st.sampled_from("cab"), min_size=1, max_size=12))
def test_users_are_indexed_by_first_appearance(users):
    n = len(users)
    data = make(chosen=[0] * n, rejected=[1] * n, user_ids=users)
    names, place = data.index_users()
    assert names == tuple(dict.fromkeys(users))
    assert [names[i] for i in place] == users


def test_many_users_are_indexed_in_blocks(monkeypatch):
    monkeypatch.setattr("lorerm.embedding.embedded_preferences._NUMBERED_ROWS", 2)
    data = make(chosen=[0] * 5, rejected=[1] * 5, user_ids=np.array(["b", "a", "c", "a", "b"]))
    names, place = data.index_users()
    assert names == ("b", "a", "c")
    assert place.tolist() == [0, 1, 2, 1, 0]


def test_names_of_unordered_pairs_survive_a_selection():
    data = make(chosen=[0, 1, 2], rejected=[1, 0, 3])
    part = data.select(np.array([2, 1]))
    assert list(part.prompt_ids) == ["2_3", "0_1"]
    assert list(data.prompt_ids[1:]) == ["0_1", "2_3"]
    assert list(part.select(np.array([1])).prompt_ids) == ["0_1"]
