"""Comparisons with a matrix of embeddings: which matrices are refused, and that selecting shares the matrix."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import save_file

from lorerm.data.comparisons import Comparisons
from lorerm.embedding.embedded_preferences import EmbeddedPreferences
from lorerm.embedding.matrices import StoredMatrix
from lorerm.errors import DataError
from refusals import refused

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
    assert data.user_ids.tolist() == ["b", "a", "b"]
    assert data.prompt_ids.tolist() == ["p", "q", "r"]
    assert (len(data), data.dimension) == (3, 3)
    assert data.weights.tolist() == [1.0, 1.0, 1.0]
    assert (data.splits, data.encoder, data.reference) == (None, None, None)


def test_a_matrix_of_another_library_is_taken():
    lists = pa.FixedSizeListArray.from_arrays(pa.array(RESPONSES.reshape(-1)), 3)
    np.testing.assert_array_equal(make(responses=lists).responses, RESPONSES)


def test_a_stored_matrix_stays_on_disk(tmp_path):
    save_file({"rows": torch.from_numpy(RESPONSES)}, tmp_path / "m.safetensors")
    stored = StoredMatrix([tmp_path / "m.safetensors"], "rows")
    data = make(responses=stored)
    assert data.responses is stored
    assert data.dimension == 3


def test_the_printed_form_has_sizes_only():
    assert repr(make()) == "EmbeddedPreferences(comparisons=3, responses=4, dimension=3)"


@pytest.mark.parametrize(
    ("changes", "argument", "name"),
    [
        ({"responses": np.ones(3)}, "responses", "(3,)"),
        ({"responses": np.ones((0, 3))}, "responses", "(0, 3)"),
        ({"responses": np.full((4, 3), np.nan)}, "responses", "rows 0"),
        ({"chosen": [0, 4, 1]}, "chosen", "chosen[1] is row 4"),
        ({"rejected": [1, 3, -1]}, "rejected", "rejected[2] is row -1"),
        ({"user_ids": ["a"]}, "user_ids", "1"),
        ({"reference": np.ones(2)}, "reference", "2"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes, argument, name):
    with refused(DataError, name, argument=argument):
        make(**changes)


def test_selections_share_the_matrix():
    data = make(prompt_ids=["p", "q", "r"], splits=["train", "test", "train"], reference=[1, 2, 3])
    part = data.select(np.array([2, 0]))
    assert isinstance(part, EmbeddedPreferences)
    assert list(part.chosen) == [1, 0]
    assert list(part.splits) == ["train", "train"]
    assert part.responses is data.responses
    assert part.reference is data.reference


def test_a_reward_head_can_be_replaced():
    data = make(reference=[1, 2, 3])
    assert data.with_reference(torch.tensor([[4.0, 5.0, 6.0]])).reference.tolist() == [4, 5, 6]
    assert data.reference.tolist() == [1, 2, 3]
    with refused(DataError, "2", argument="reference"):
        data.with_reference(torch.ones(2))


def test_comparisons_are_joined_with_their_matrix():
    table = Comparisons.from_columns([0], [3], ["u"], weights=[2.0], splits=["train_seen"])
    data = EmbeddedPreferences.join(table, RESPONSES)
    for name in ("user_ids", "prompt_ids", "chosen", "rejected", "weights", "splits"):
        assert getattr(data, name) is getattr(table, name)
    with refused(DataError, "row 3", argument="rejected"):
        EmbeddedPreferences.join(table, RESPONSES[:3])
