"""Matrices and reward heads of files that other programs wrote."""

from __future__ import annotations

import pickle

import pytest
import torch
from safetensors.torch import save_file

from lorerm.embedding.external.matrix_files import matrix_name, read_matrix_file, read_reference_file
from lorerm.embedding.matrices import StoredMatrix
from lorerm.errors import DataError
from refusals import refused


@pytest.fixture
def saved(tmp_path):
    """Save tensors, and return the file."""

    def save(**tensors):
        save_file(tensors, tmp_path / "file.safetensors")
        return tmp_path / "file.safetensors"

    return save


def test_named_matrix_among_others(saved):
    matrix, reference = read_matrix_file(saved(responses=torch.ones(3, 2), other=torch.zeros(5, 2)))
    assert torch.equal(matrix, torch.ones(3, 2))
    assert reference is None


def test_only_matrix_under_any_name_with_its_head(saved):
    matrix, reference = read_matrix_file(saved(embeddings=torch.ones(3, 2), reference=torch.zeros(2), n=torch.ones(3)))
    assert matrix.shape == (3, 2)
    assert torch.equal(reference, torch.zeros(2))


@pytest.mark.parametrize("tensors", [{}, {"responses": torch.ones(4)}, {"a": torch.ones(2, 2), "b": torch.ones(2, 2)}])
@pytest.mark.parametrize("read", [read_matrix_file, matrix_name])
def test_no_clear_matrix(saved, tensors, read):
    path = saved(**tensors)
    with refused(DataError, '"responses"', *tensors, file=str(path)):
        read(path)


def test_name_of_the_matrix(saved):
    assert matrix_name(saved(embeddings=torch.ones(3, 2), reference=torch.zeros(1, 2))) == "embeddings"
    assert matrix_name(saved(responses=torch.ones(3, 2), other=torch.zeros(5, 2))) == "responses"


@pytest.mark.parametrize("shape", [(4,), (1, 4)])
@pytest.mark.parametrize("name", ["reference", "score.weight", "anything"])
def test_head_of_either_shape(saved, shape, name):
    assert read_reference_file(saved(**{name: torch.ones(shape)})).shape == (4,)


@pytest.mark.parametrize(
    "tensors", [{}, {"a": torch.ones(2), "b": torch.ones(2)}, {"a": torch.ones(2, 2)}, {"a": torch.ones(2).int()}]
)
def test_no_clear_head(saved, tensors):
    path = saved(**tensors)
    with refused(DataError, '"reference"', *tensors, file=str(path)):
        read_reference_file(path)


@pytest.mark.parametrize("read", [read_matrix_file, read_reference_file])
def test_pickle_is_not_opened(tmp_path, read):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "opened"), "w"))

    (tmp_path / "m.safetensors").write_bytes(pickle.dumps(Bomb()))
    with refused(DataError, file=str(tmp_path / "m.safetensors")):
        read(tmp_path / "m.safetensors")
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize("read", [read_matrix_file, read_reference_file])
def test_missing(tmp_path, read):
    with refused(DataError, file=str(tmp_path / "none")):
        read(tmp_path / "none")


def test_a_large_matrix_stays_in_the_file(saved, monkeypatch):
    monkeypatch.setattr("lorerm.embedding.external.matrix_files.LARGE", 6)
    rows = torch.arange(6.0).reshape(3, 2).bfloat16()
    matrix, reference = read_matrix_file(saved(embeddings=rows, reference=torch.zeros(2)))
    assert isinstance(matrix, StoredMatrix)
    assert torch.equal(matrix[:], rows)
    assert reference.tolist() == [0, 0]
