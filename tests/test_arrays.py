"""Columns from NumPy, pandas and Arrow, sharing memory where possible, and every form of index."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from lorerm.arrays import as_column, as_indices
from lorerm.errors import DataError
from refusals import refused

NUMBERS = np.array([0, 1, 2])
USERS = np.array(["u", "v", "u"], dtype=object)


@pytest.mark.parametrize(
    "kind", [np.asarray, pd.Series, pa.array, lambda column: pa.chunked_array([column[:1], column[1:]])]
)
@pytest.mark.parametrize("column", [NUMBERS, USERS], ids=["numbers", "strings"])
def test_columns_become_numpy(kind, column):
    found = as_column(kind(column))
    assert isinstance(found, np.ndarray)
    assert found.tolist() == column.tolist()


def test_lists_and_none_stay_as_they_are():
    ids = ["u", "v"]
    assert as_column(ids) is ids
    assert as_column(None) is None


def test_memory_of_numbers_is_shared():
    assert np.shares_memory(as_column(pd.Series(NUMBERS, copy=False)), NUMBERS)
    column = pa.array(NUMBERS)
    assert np.shares_memory(as_column(column), column.to_numpy())
    assert as_column(USERS) is USERS


@pytest.mark.parametrize(
    "indices",
    [[2, 0], np.array([2, 0], dtype=np.int32), torch.tensor([2, 0]), pd.Series([2, 0]), pa.array([2, 0])],
    ids=["list", "numpy", "torch", "pandas", "arrow"],
)
def test_vectors_of_indices(indices):
    assert as_indices(indices, 3).tolist() == [2, 0]


def test_masks_slices_negative_and_single_indices():
    assert as_indices(np.array([True, False, True]), 3).tolist() == [0, 2]
    assert as_indices(slice(None, None, 2), 3).tolist() == [0, 2]
    assert np.arange(3)[as_indices([-1, -3], 3)].tolist() == [2, 0]
    assert as_indices(1, 3).tolist() == [1]
    assert as_indices([], 3).tolist() == []


@pytest.mark.parametrize(("indices", "name"), [([True, False], "(2,)"), ([0.5], "float64"), ([3], "3"), ([-4], "-4")])
def test_other_objects_and_indices_out_of_range_are_refused(indices, name):
    with refused(DataError, name, argument="indices"):
        as_indices(indices, 3)
