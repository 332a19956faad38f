"""The same comparisons from NumPy, torch, pandas and Arrow, sharing memory where they can, indexed as arrays are."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from sklearn.model_selection import KFold, train_test_split

from lorerm.embedding.coercion import as_places, plain_column, plain_matrix
from lorerm.embedding.embedded_preferences import EmbeddedPreferences, as_tensor
from lorerm.errors import DataError

MATRIX = np.arange(12, dtype=np.float32).reshape(4, 3)
CHOSEN, REJECTED, USERS = np.array([0, 1, 2]), np.array([1, 2, 3]), np.array(["u", "v", "u"], dtype=object)
LISTS = pa.FixedSizeListArray.from_arrays(pa.array(MATRIX.reshape(-1)), 3)


@pytest.mark.parametrize(
    "matrix",
    [
        MATRIX,
        torch.from_numpy(MATRIX),
        pd.DataFrame(MATRIX),
        LISTS,
        pa.chunked_array([LISTS[:2], LISTS[2:]]),
        pa.array(MATRIX.tolist(), pa.list_(pa.float32())),
        pa.table({str(i): MATRIX[:, i] for i in range(3)}),
    ],
    ids=["numpy", "torch", "pandas", "arrow", "arrow chunks", "arrow lists", "arrow table"],
)
def test_matrices_of_all_kinds(matrix):
    data = EmbeddedPreferences.from_arrays(matrix, CHOSEN, REJECTED, USERS)
    assert torch.equal(as_tensor(data.responses).float(), torch.from_numpy(MATRIX))


@pytest.mark.parametrize("kind", [list, np.asarray, pd.Series, pa.array, lambda c: pa.chunked_array([c[:1], c[1:]])])
def test_columns_of_all_kinds(kind):
    data = EmbeddedPreferences.from_arrays(
        MATRIX, kind(CHOSEN), kind(REJECTED), kind(USERS), kind(USERS), kind(np.ones(3)), splits=kind(USERS)
    )
    assert [rows.tolist() for rows in data.rows()] == [CHOSEN.tolist(), REJECTED.tolist()]
    assert data.index_users()[0] == ("u", "v")
    assert list(data[1:].user_ids) == ["v", "u"]
    assert data.weights.tolist() == [1, 1, 1]


def test_memory_is_shared_where_the_layout_allows_it():
    assert np.shares_memory(plain_matrix(pd.DataFrame(MATRIX, copy=False)), MATRIX)
    flat = LISTS.flatten().to_numpy()
    assert np.shares_memory(plain_matrix(LISTS), flat)
    assert np.shares_memory(plain_column(pd.Series(CHOSEN, copy=False)), CHOSEN)
    column = pa.array(CHOSEN)
    assert np.shares_memory(plain_column(column), column.to_numpy())
    tensor = torch.from_numpy(MATRIX)
    assert plain_matrix(tensor) is tensor
    assert plain_column(USERS) is USERS


@pytest.mark.parametrize(
    "indices",
    [[2, 0], np.array([2, 0], dtype=np.int32), torch.tensor([2, 0]), pd.Series([2, 0]), pa.array([2, 0]), [-1, -3]],
    ids=["list", "numpy", "torch", "pandas", "arrow", "negative"],
)
def test_comparisons_are_indexed_as_arrays_are(indices):
    data = EmbeddedPreferences.from_arrays(MATRIX, CHOSEN, REJECTED, USERS)
    assert data[indices].rows()[0].tolist() == [2, 0]
    assert data[indices].responses is data.responses


def test_masks_slices_and_single_places():
    assert as_places(np.array([True, False, True]), 3).tolist() == [0, 2]
    assert as_places(slice(None, None, 2), 3).tolist() == [0, 2]
    assert as_places(1, 3).tolist() == [1]
    assert as_places([], 3).tolist() == []


@pytest.mark.parametrize(
    ("indices", "message"),
    [([True, False], "the mask has shape"), ([0.5], "indices have dtype float64"), ([3], "index 3 is out of range")],
)
def test_what_is_no_index_is_refused(indices, message):
    with pytest.raises(DataError, match=message):
        as_places(indices, 3)


def test_lists_of_different_lengths_are_refused():
    with pytest.raises(DataError, match="responses row 1 has 1 numbers, row 0 has 2"):
        plain_matrix(pa.array([[1.0, 2.0], [3.0]]))


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.list_(pa.float32(), 2)])
def test_missing_row_is_refused(kind):
    with pytest.raises(DataError, match="responses row 1 is missing"):
        plain_matrix(pa.array([[1.0, 2.0], None, [3.0, 4.0], None], kind))


def test_scikit_learns_splitters_take_them():
    data = EmbeddedPreferences.from_arrays(MATRIX, np.tile(CHOSEN, 4), np.tile(REJECTED, 4), np.tile(USERS, 4))
    train, test = train_test_split(data, test_size=0.25, random_state=0)
    assert (len(train), len(test)) == (9, 3)
    assert isinstance(train, EmbeddedPreferences)
    sizes = [(len(data[inner]), len(data[outer])) for inner, outer in KFold(4).split(data)]
    assert sizes == [(9, 3)] * 4
