"""A matrix on disk: the rows that are in the files, in any order and dtype, and errors that name a bad file."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from lorerm.embedding.embedded_preferences import EmbeddedPreferences, as_tensor
from lorerm.embedding.stored_matrix import StoredMatrix, UnreadableFileError

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
def test_rows_come_in_any_order(typed, index):
    rows, stored = typed
    index = np.array(index, dtype=np.int64)
    found = stored[index]
    assert found.dtype == stored.dtype == rows.dtype
    assert torch.equal(found, rows[torch.from_numpy(index)])
    assert torch.equal(stored[torch.from_numpy(index)], found)


@pytest.mark.parametrize("part", [slice(None), slice(3, 6), slice(8, 20), slice(4, 4), slice(None, None, 3)])
def test_slices(typed, part):
    rows, stored = typed
    assert torch.equal(stored[part], rows[part])
    assert (stored.shape, len(stored), stored.ndim) == ((10, 3), 10, 2)


def test_preferences_take_it_as_their_responses(tmp_path, matrix):
    stored = StoredMatrix(write(tmp_path, matrix), "rows")
    data = EmbeddedPreferences.from_arrays(stored, [0, 9], [1, 4], ["u", "v"])
    assert data.responses is stored
    assert data.dimension == 3
    assert torch.equal(as_tensor(stored), matrix)


def test_a_value_that_is_not_finite_is_found(tmp_path, matrix):
    bad = matrix.clone()
    bad[7, 1] = torch.inf
    with pytest.raises(ValueError, match="responses row 7 holds"):
        EmbeddedPreferences.from_arrays(StoredMatrix(write(tmp_path, bad), "rows"), [0], [1], ["u"])


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda path: path.unlink(), "is not a readable safetensors file"),
        (lambda path: path.write_bytes(b"no header at all"), "is not a readable safetensors file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "ends too early"),
        (lambda path: save_file({"other": torch.ones(2, 3)}, path), "holds no tensor 'rows'"),
        (lambda path: save_file({"rows": torch.ones(2, 4)}, path), "no part of one matrix"),
        (lambda path: save_file({"rows": torch.ones(2, 3).half()}, path), "no part of one matrix"),
        (lambda path: save_file({"rows": torch.ones(2, 3).int()}, path), "holds numbers of type I32"),
    ],
)
def test_a_bad_file_is_named(tmp_path, matrix, damage, problem):
    paths = write(tmp_path, matrix)
    damage(paths[1])
    with pytest.raises(UnreadableFileError, match=problem) as raised:
        StoredMatrix(paths, "rows")
    assert raised.value.path == paths[1]


def test_a_file_that_is_cut_off_later_is_named_too(tmp_path, matrix):
    paths = write(tmp_path, matrix)
    stored = StoredMatrix(paths, "rows")
    paths[2].write_bytes(paths[2].read_bytes()[:-5])
    with pytest.raises(UnreadableFileError, match=r"part-2\.safetensors ends too early"):
        stored[:]
    paths[2].unlink()
    with pytest.raises(UnreadableFileError, match="cannot be read"):
        stored[:]
