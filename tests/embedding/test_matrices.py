"""Matrices of embeddings: rows on disk in any order and dtype, conversion of other libraries' forms, and checks."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from lorerm.embedding.matrices import (
    StoredMatrix,
    UnreadableFileError,
    as_matrix,
    as_reference,
    as_tensor,
)
from lorerm.errors import DataError
from refusals import refused

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]


def write(folder, matrix, lengths=(4, 1, 5), name="rows"):
    """Write a matrix of ten rows as three files, another tensor before it in each."""
    paths = [folder / f"part-{i}.safetensors" for i in range(len(lengths))]
    for path, part in zip(paths, matrix.split(list(lengths)), strict=True):
        save_file({"a": torch.ones(3), name: part.contiguous()}, path, {"made_by": "a test"})
    return paths


@pytest.fixture(scope="module")
def matrix():
    return torch.randn(10, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", params=DTYPES, ids=str)
def typed(request, matrix, tmp_path_factory):
    """The rows in memory and on disk."""
    rows = matrix.to(request.param)
    return rows, StoredMatrix(write(tmp_path_factory.mktemp("parts"), rows), "rows")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=20))
def test_rows_are_read_in_any_order(typed, index):
    rows, stored = typed
    index = np.array(index, dtype=np.int64)
    found = stored[index]
    assert found.dtype == stored.dtype == rows.dtype
    assert torch.equal(found, rows[torch.from_numpy(index)])
    assert torch.equal(stored[torch.from_numpy(index)], found)


@pytest.mark.parametrize("part", [slice(None), slice(3, 6), slice(8, 20), slice(4, 4), slice(None, None, 3)])
def test_slices_of_rows_are_read(typed, part):
    rows, stored = typed
    assert torch.equal(stored[part], rows[part])
    assert (stored.shape, len(stored)) == ((10, 3), 10)


def test_a_stored_matrix_becomes_a_tensor(tmp_path, matrix):
    assert torch.equal(as_tensor(StoredMatrix(write(tmp_path, matrix), "rows")), matrix)


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        (lambda path: path.unlink(), "safetensors"),
        (lambda path: path.write_bytes(b"no header at all"), "safetensors"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "truncated"),
        (lambda path: save_file({"other": torch.ones(2, 3)}, path), "'rows'"),
        (lambda path: save_file({"rows": torch.ones(2, 4)}, path), "[2, 4]"),
        (lambda path: save_file({"rows": torch.ones(2, 3).half()}, path), "F16"),
        (lambda path: save_file({"rows": torch.ones(2, 3).int()}, path), "I32"),
    ],
)
def test_a_bad_file_is_named(tmp_path, matrix, damage, name):
    paths = write(tmp_path, matrix)
    damage(paths[1])
    with refused(UnreadableFileError, name, file=str(paths[1])) as raised:
        StoredMatrix(paths, "rows")
    assert raised.value.path == paths[1]


def test_a_file_that_is_cut_off_or_removed_later_is_named(tmp_path, matrix):
    paths = write(tmp_path, matrix)
    stored = StoredMatrix(paths, "rows")
    paths[2].write_bytes(paths[2].read_bytes()[:-5])
    with refused(UnreadableFileError, file=str(paths[2])):
        stored[:]
    paths[2].unlink()
    with refused(UnreadableFileError, file=str(paths[2])):
        stored[:]


MATRIX = np.arange(12, dtype=np.float32).reshape(4, 3)
LISTS = pa.FixedSizeListArray.from_arrays(pa.array(MATRIX.reshape(-1)), 3)


@pytest.mark.parametrize(
    "form",
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
def test_matrices_of_other_libraries(form):
    assert torch.equal(as_tensor(as_matrix(form)).float(), torch.from_numpy(MATRIX))


def test_memory_is_shared_where_the_layout_allows_it():
    assert np.shares_memory(as_matrix(pd.DataFrame(MATRIX, copy=False)), MATRIX)
    assert np.shares_memory(as_matrix(LISTS), LISTS.flatten().to_numpy())
    tensor = torch.from_numpy(MATRIX)
    assert as_matrix(tensor) is tensor


def test_lists_of_different_lengths_are_refused():
    with refused(DataError, "row 1 has 1", "row 0 has 2", argument="responses"):
        as_matrix(pa.array([[1.0, 2.0], [3.0]]))


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.list_(pa.float32(), 2)])
def test_a_missing_row_is_refused(kind):
    with refused(DataError, "row 1", argument="responses"):
        as_matrix(pa.array([[1.0, 2.0], None, [3.0, 4.0], None], kind))


def test_read_only_arrays_become_tensors_without_a_copy():
    """The array of a mapped file is read-only; torch would warn of each."""
    responses = MATRIX.copy()
    responses.flags.writeable = False
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
def test_reference_heads_of_any_form_become_float32_vectors(head):
    """A reward model's own `score.weight` is a bfloat16 parameter [1, D]."""
    reference = as_reference(head, 3)
    assert reference.dtype == np.float32
    assert reference.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(("head", "name"), [(np.ones(2), "2 entries"), (np.array([1.0, np.nan, 1.0]), "NaN")])
def test_a_reference_head_that_does_not_fit_is_refused(head, name):
    with refused(DataError, name, argument="reference"):
        as_reference(head, 3)
