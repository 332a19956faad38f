"""Rows that are streamed: all that is computed from them is what is computed from a matrix in memory."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lorerm.embedding.embedded_preferences import EmbeddedPreferences
from lorerm.embedding.matrices import StoredMatrix
from lorerm.training import pairs as pairs_module
from lorerm.training import products, streamed
from lorerm.training.adaptation import adapt
from lorerm.training.config import TrainingConfig
from lorerm.training.objective import negative_log_likelihood
from lorerm.training.pairs import PackedPairs
from lorerm.training.streamed import StreamedRows
from lorerm.training.train import train
from planted import plant


@pytest.fixture
def all_streamed(monkeypatch):
    """Nothing fits into memory, and blocks have a few rows."""
    monkeypatch.setattr(pairs_module, "_IN_MEMORY", 0)
    monkeypatch.setattr(pairs_module, "_BLOCK_ELEMENTS", 100)
    monkeypatch.setattr(streamed, "_BLOCK_ELEMENTS", 100)
    monkeypatch.setattr(products, "_SPAN_ELEMENTS", 300)


@pytest.fixture(scope="module")
def planted():
    return plant(users=16, pairs=40, dimension=12, personal=1.5, prompts=200).data


def on_disk(data, folder, dtype=torch.float32):
    """Return the same preferences with their responses in two files."""
    paths = [folder / f"{i}.safetensors" for i in range(2)]
    for path, part in zip(paths, torch.as_tensor(data.responses).to(dtype).tensor_split(2), strict=True):
        save_file({"responses": part.contiguous()}, path)
    return replace(data, responses=StoredMatrix(paths, "responses"))


def evaluated(pairs):
    """Return all that solvers ask for."""
    generator = torch.Generator().manual_seed(0)
    basis, weights = torch.randn(3, 12, generator=generator), torch.randn(pairs.n_users, 3, generator=generator)
    at = negative_log_likelihood(pairs, basis, weights, pairs.weight)
    return *at, pairs.project(basis), pairs.mean_square(), pairs.pull_back_by_user(pairs.weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_streamed_pairs_are_those_in_memory(planted, tmp_path, all_streamed, monkeypatch, dtype, scaled, kind):
    data = replace(planted, responses=torch.as_tensor(planted.responses).to(dtype))
    source = data if kind == "memory" else on_disk(planted, tmp_path, dtype)
    pairs = [PackedPairs.pack(source)]
    assert isinstance(pairs[0].matrix, StreamedRows)
    monkeypatch.undo()
    pairs += [PackedPairs.pack(data, differences=stored) for stored in (True, False)]
    if scaled:
        pairs = [one.with_scale(torch.linspace(0.1, 2, 12)) for one in pairs]
    found, *expected = map(evaluated, pairs)
    for other in expected:
        for a, b in zip(found, other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * float(b.abs().max()))


def test_parts_of_the_data_read_the_same_rows(planted, tmp_path, all_streamed):
    data = on_disk(planted, tmp_path)
    part = PackedPairs.pack(data.select(np.arange(0, len(data), 3)))
    assert part.matrix.source is data.responses
    assert len(part.matrix) < len(data.responses)


def test_equal_rows_are_exact_ties(all_streamed, tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((30, 7)).astype(np.float32)
    data = EmbeddedPreferences.from_arrays(np.concatenate([rows, rows]), np.arange(30), np.arange(30, 60), ["u"] * 30)
    assert (PackedPairs.pack(on_disk(data, tmp_path)).project(torch.randn(2, 7)) == 0).all()


def test_training_and_adaptation_give_the_same_model(planted, tmp_path, all_streamed, monkeypatch):
    config = TrainingConfig(rank=2)
    data = on_disk(planted, tmp_path)
    model = train(data, config)
    users = adapt(model, data)
    monkeypatch.undo()
    expected = train(planted, config)
    directions, expected_directions = (m.weights @ m.basis.t() for m in (model, expected))
    assert (directions - expected_directions).norm() < 1e-2 * expected_directions.norm()
    torch.testing.assert_close(users.weights, adapt(model, planted).weights, rtol=1e-4, atol=1e-4)
