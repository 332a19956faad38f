"""Products in blocks equal dense products at every shape, with the same bits on any number of threads and streamed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from lorerm.embedding.embedded_preferences import EmbeddedPreferences
from lorerm.embedding.matrices import StoredMatrix
from lorerm.training import operators
from lorerm.training import pairs as pairs_module
from lorerm.training.adaptation import adapt
from lorerm.training.config import TrainingConfig
from lorerm.training.objective import negative_log_likelihood
from lorerm.training.operators import StreamedRows
from lorerm.training.pairs import PackedPairs
from lorerm.training.train import train
from planted import plant

shapes = st.tuples(st.integers(1, 70), st.integers(1, 40), st.integers(1, 6))


@pytest.fixture(autouse=True)
def threads():
    """Restore the number of threads."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of a few rows and spans of a few blocks, so that small matrices have several of each and a remainder."""
    monkeypatch.setattr(operators, "_SMALL_RESULT", 8)
    monkeypatch.setattr(operators, "_SPAN_ELEMENTS", 200)
    monkeypatch.setattr(operators, "_PARTS", 5)
    monkeypatch.setattr(operators, "_WORTH_A_THREAD", 0)


def draw(n, dimension, rank, dtype=torch.float32):
    generator = torch.Generator().manual_seed(n + 100 * dimension + 10_000 * rank)
    return [torch.randn(shape, generator=generator, dtype=dtype) for shape in ((n, dimension), (rank, dimension))]


def half_of_the_square(first, last, projected):
    return 0.5 * projected * projected


def all_three(matrix, directions):
    projected = operators.project(matrix, directions)
    pulled = operators.pull_back(matrix, 0.5 * projected * projected)
    return projected, pulled, *operators.project_and_pull_back(matrix, directions, half_of_the_square)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("n_threads", [1, 3])
@settings(max_examples=40, deadline=None)
@given(shapes)
def test_products_equal_dense_ones(n_threads, shape):
    torch.set_num_threads(n_threads)
    matrix, directions = draw(*shape)
    projected = matrix.double() @ directions.t().double()
    pulled = (0.5 * projected.square()).t() @ matrix.double()
    # Rounding errors are relative to the terms, which can cancel in a sum.
    terms = matrix.double().abs() @ directions.t().double().abs()
    bounds = terms, (0.5 * projected.square()).t() @ matrix.double().abs()
    for found, expected, bound in zip(all_three(matrix, directions), (projected, pulled) * 2, bounds * 2, strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5 * float(bound.max()))


@pytest.mark.parametrize("shape", [(3000, 700, 5), (3000, 64, 1), (2000, 2100, 3), (100, 5000, 7), (1, 3, 1)])
def test_any_number_of_threads_gives_the_same_bits(shape, monkeypatch):
    monkeypatch.setattr(operators, "_WORTH_A_THREAD", 0)
    matrix, directions = draw(*shape)
    found = []
    for n_threads in (1, 2, 5):
        torch.set_num_threads(n_threads)
        found.append(all_three(matrix, directions))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3_000_000), st.integers(1, 20_000), st.integers(1, 50))
def test_spans_cover_the_rows_once_and_are_small(n, dimension, rank):
    spans = []

    def work(first, last):
        spans.append((first, last))
        return np.ones(1)

    torch.set_num_threads(1)
    assert operators._in_spans(n, (rank, dimension), work) == len(spans)
    assert [first for first, _ in spans] == [0, *(last for _, last in spans[:-1])]
    assert spans[-1][1] == n
    assert all(last - first <= max(1, operators._SPAN_ELEMENTS // dimension) for first, last in spans)


def test_other_precisions_are_left_to_torch():
    matrix, directions = draw(20, 5, 2, torch.float64)
    assert not operators.in_blocks(matrix, directions)
    assert torch.equal(operators.project(matrix, directions), torch.nn.functional.linear(matrix, directions))
    pulled = operators.pull_back(matrix, torch.ones(20, 2, dtype=torch.float64))
    np.testing.assert_allclose(pulled, matrix.sum(dim=0).expand(2, -1), rtol=1e-12)


@pytest.fixture
def all_streamed(monkeypatch):
    """No matrix fits into memory, and blocks have a few rows."""
    monkeypatch.setattr(pairs_module, "_IN_MEMORY", 0)
    monkeypatch.setattr(pairs_module, "_BLOCK_ELEMENTS", 100)
    monkeypatch.setattr(operators, "_MEAN_ELEMENTS", 100)
    monkeypatch.setattr(operators, "_SPAN_ELEMENTS", 300)


@pytest.fixture(scope="module")
def planted():
    return plant(users=16, pairs=40, dimension=12, personal=1.5, prompts=200).data


def on_disk(data, folder, dtype=torch.float32):
    """Return the same data with the responses in two files."""
    paths = [folder / f"{i}.safetensors" for i in range(2)]
    for path, part in zip(paths, torch.as_tensor(data.responses).to(dtype).tensor_split(2), strict=True):
        save_file({"responses": part.contiguous()}, path)
    return replace(data, responses=StoredMatrix(paths, "responses"))


def evaluated(pairs):
    """Return everything that solvers compute from comparisons."""
    generator = torch.Generator().manual_seed(0)
    basis, weights = torch.randn(3, 12, generator=generator), torch.randn(pairs.n_users, 3, generator=generator)
    at = negative_log_likelihood(pairs, basis, weights, pairs.weight)
    return *at, pairs.project(basis), pairs.mean_square(), pairs.pull_back_by_user(pairs.weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_streamed_rows_give_the_results_of_a_matrix_in_memory(
    planted, tmp_path, all_streamed, monkeypatch, dtype, scaled, kind
):
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


def test_selected_comparisons_share_the_matrix_on_disk(planted, tmp_path, all_streamed):
    data = on_disk(planted, tmp_path)
    part = PackedPairs.pack(data.select(np.arange(0, len(data), 3)))
    assert part.matrix.source is data.responses
    assert len(part.matrix) < len(data.responses)


def test_equal_streamed_rows_are_exact_ties(all_streamed, tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((30, 7)).astype(np.float32)
    data = EmbeddedPreferences.from_arrays(np.concatenate([rows, rows]), np.arange(30), np.arange(30, 60), ["u"] * 30)
    assert (PackedPairs.pack(on_disk(data, tmp_path)).project(torch.randn(2, 7)) == 0).all()


def test_training_and_adaptation_on_streamed_rows_give_the_same_model(planted, tmp_path, all_streamed, monkeypatch):
    config = TrainingConfig(rank=2)
    data = on_disk(planted, tmp_path)
    model = train(data, config)
    users = adapt(model, data)
    monkeypatch.undo()
    expected = train(planted, config)
    directions, expected_directions = (m.weights @ m.basis.t() for m in (model, expected))
    assert (directions - expected_directions).norm() < 1e-2 * expected_directions.norm()
    torch.testing.assert_close(users.weights, adapt(model, planted).weights, rtol=1e-4, atol=1e-4)
