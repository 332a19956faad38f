"""Products in blocks: the literal ones at every shape, and the same bits on any number of threads."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lorerm.training import operators

shapes = st.tuples(st.integers(1, 70), st.integers(1, 40), st.integers(1, 6))


@pytest.fixture(autouse=True)
def threads():
    """Put back the number of threads."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of a few rows and spans of a few blocks, so that small matrices have several, and rows left over."""
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
def test_products_are_the_literal_ones(n_threads, shape):
    torch.set_num_threads(n_threads)
    matrix, directions = draw(*shape)
    projected = matrix.double() @ directions.t().double()
    pulled = (0.5 * projected.square()).t() @ matrix.double()
    # Rounding is measured by the terms: in a sum they can cancel out.
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
def test_the_spans_cover_the_rows_once_and_are_small(n, dimension, rank):
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
