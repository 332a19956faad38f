"""Packed comparisons: products in both storage forms equal dense ones, exact ties, and scales."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lorerm.embedding.embedded_preferences import EmbeddedPreferences
from lorerm.training.pairs import PackedPairs

STORAGES = [True, False]
shapes = st.fixed_dictionaries(
    {
        "responses": st.integers(2, 9),
        "pairs": st.integers(1, 30),
        "users": st.integers(1, 5),
        "dimension": st.integers(1, 7),
        "seed": st.integers(0, 99),
    }
)


def draw(responses=8, pairs=30, users=4, dimension=5, seed=0, weighted=True):
    """Draw random comparisons, some of them repeated."""
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, responses, pairs)
    return EmbeddedPreferences.from_arrays(
        rng.standard_normal((responses, dimension)).astype(np.float32) + 3,
        chosen,
        (chosen + rng.integers(1, responses, pairs)) % responses,
        [f"u{u}" for u in rng.integers(0, users, pairs)],
        weights=rng.uniform(0.2, 2, pairs) if weighted else None,
    )


def differences(data, pairs):
    """Return the differences of embeddings in the order of `pairs`."""
    chosen, rejected = data.rows()
    return torch.as_tensor(data.responses[chosen[pairs.order]] - data.responses[rejected[pairs.order]])


@settings(max_examples=40, deadline=None)
@given(shapes, st.booleans(), st.integers(1, 4))
def test_products_equal_dense_ones(shape, stored, rank):
    data = draw(**shape)
    pairs = PackedPairs.pack(data, differences=stored)
    literal = differences(data, pairs)
    generator = torch.Generator().manual_seed(shape["seed"])
    directions = torch.randn(rank, data.dimension, generator=generator)
    coefficients = torch.randn(len(pairs), rank, generator=generator)
    torch.testing.assert_close(pairs.project(directions), literal @ directions.t(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(pairs.pull_back(coefficients), coefficients.t() @ literal, rtol=1e-4, atol=1e-4)
    by_user = torch.zeros(pairs.n_users, data.dimension).index_add_(0, pairs.user, literal * coefficients[:, :1])
    torch.testing.assert_close(pairs.pull_back_by_user(coefficients[:, 0]), by_user, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(pairs.mean_square(), literal.square().mean(dim=0), rtol=1e-4, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(shapes, st.booleans(), st.integers(1, 4))
def test_pull_back_is_the_adjoint_of_project(shape, stored, rank):
    pairs = PackedPairs.pack(draw(**shape), differences=stored)
    generator = torch.Generator().manual_seed(shape["seed"])
    directions = torch.randn(rank, shape["dimension"], generator=generator)
    coefficients = torch.randn(len(pairs), rank, generator=generator)
    there = (pairs.project(directions).double() * coefficients).sum()
    back = (directions.double() * pairs.pull_back(coefficients)).sum()
    torch.testing.assert_close(there, back, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("stored", STORAGES)
def test_users_are_in_order_of_first_appearance(stored):
    data = replace(draw(pairs=6), user_ids=["z", "a", "z", "m", "a", "a"])
    pairs = PackedPairs.pack(data, differences=stored)
    assert pairs.user_ids == ("z", "a", "m")
    assert pairs.user.tolist() == [0, 0, 1, 1, 1, 2]
    assert pairs.order.tolist() == [0, 2, 1, 4, 5, 3]


@given(shapes)
@settings(max_examples=30, deadline=None)
def test_weights_sum_to_one_within_each_user_in_proportion_to_the_counts(shape):
    data = draw(**shape)
    pairs = PackedPairs.pack(data)
    torch.testing.assert_close(pairs.sum_by_user(pairs.weight), torch.ones(pairs.n_users))
    assert pairs.count.tolist() == data.weights[pairs.order].tolist()
    share = pairs.count / pairs.sum_by_user(pairs.count)[pairs.user]
    torch.testing.assert_close(pairs.weight.double(), share, rtol=1e-6, atol=0)


def test_the_cheaper_form_is_stored():
    few, many = draw(responses=30, pairs=10), draw(responses=4, pairs=40)
    assert PackedPairs.pack(few).rows is None
    packed = PackedPairs.pack(many)
    assert packed.rows is not None
    assert packed.matrix.shape == (4, 5)


def test_only_responses_in_use_are_stored():
    data = draw(responses=50, pairs=5)
    assert len(PackedPairs.pack(data, differences=False).matrix) == len(np.unique(np.concatenate(data.rows())))


@pytest.mark.parametrize("stored", STORAGES)
def test_differences_of_half_precision_are_taken_in_float32(stored):
    """In bfloat16 the difference 1.0078125 - 0.00390625 would be rounded to 1."""
    responses = torch.tensor([[1.0078125], [0.00390625], [1.0]], dtype=torch.bfloat16)
    assert (responses[0] - responses[1]).item() == 1.0  # what the published code computed
    data = EmbeddedPreferences.from_arrays(responses, [0, 0, 2], [1, 2, 1], ["u"] * 3)
    projected = PackedPairs.pack(data, differences=stored).project(torch.ones(1, 1))[:, 0]
    exact = torch.tensor([1.00390625, 0.0078125, 0.99609375])
    torch.testing.assert_close(projected, exact, rtol=0, atol=1e-7)


def test_numpy_and_torch_responses_give_the_same():
    data = draw()
    directions = torch.randn(2, data.dimension, generator=torch.Generator().manual_seed(0))
    for stored in STORAGES:
        projected = [
            PackedPairs.pack(replace(data, responses=kind(data.responses)), differences=stored).project(directions)
            for kind in (np.asarray, torch.as_tensor, np.float64)
        ]
        assert torch.equal(projected[0], projected[1])
        torch.testing.assert_close(projected[0], projected[2])


@pytest.mark.parametrize("stored", STORAGES)
@pytest.mark.parametrize("rank", [1, 3])
def test_equal_responses_make_an_exact_tie(stored, rank):
    """A tie counts as wrong; with different rounding of equal rows half of the ties would count as right."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((33, 300)).astype(np.float32)
    order = rng.permutation(66)
    row = np.argsort(order)
    responses = np.concatenate([rows, rows])[order]
    chosen, rejected = row[:33], row[33:]
    other = np.roll(chosen, 1)
    data = EmbeddedPreferences.from_arrays(
        responses, np.tile(chosen, 6), np.concatenate([np.tile(rejected, 5), other]), ["u"] * 198
    )
    generator = torch.Generator().manual_seed(0)
    projected = PackedPairs.pack(data, differences=stored).project(torch.randn(rank, 300, generator=generator))
    assert (projected[:165] == 0).all()
    assert (projected[165:] != 0).all()


@pytest.mark.parametrize("stored", STORAGES)
def test_features_that_never_differ_have_mean_square_zero(stored):
    data = draw()
    responses = data.responses.copy()
    responses[:, 2] = 1e6 / 3
    assert PackedPairs.pack(replace(data, responses=responses), differences=stored).mean_square()[2] == 0


def test_mean_square_in_blocks(monkeypatch):
    data = draw(pairs=10_000, responses=20)
    for stored in STORAGES:
        pairs = PackedPairs.pack(data, differences=stored)
        torch.testing.assert_close(
            pairs.mean_square(), differences(data, pairs).square().mean(dim=0), rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("stored", STORAGES)
def test_a_scale_multiplies_the_features_and_shares_the_matrix(stored):
    data = draw()
    scale = torch.tensor([0.0, 1e-3, 1.0, 7.0, 1e3])
    pairs = PackedPairs.pack(data, differences=stored)
    scaled = pairs.with_scale(scale)
    assert scaled.matrix is pairs.matrix
    literal = PackedPairs.pack(replace(data, responses=data.responses * scale.numpy()), differences=stored)
    generator = torch.Generator().manual_seed(0)
    directions, coefficients = torch.randn(2, 5, generator=generator), torch.randn(30, 2, generator=generator)
    for found, expected in (
        (scaled.project(directions), literal.project(directions)),
        (scaled.pull_back(coefficients), literal.pull_back(coefficients)),
        (scaled.pull_back_by_user(coefficients[:, 0]), literal.pull_back_by_user(coefficients[:, 0])),
        (scaled.mean_square(), literal.mean_square()),
        (pairs.with_scale(scale).with_scale(scale).mean_square(), literal.with_scale(scale).mean_square()),
    ):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("stored", STORAGES)
def test_a_scale_is_as_exact_as_a_scaled_matrix(stored):
    """With features of very different size, far from 0."""
    rng = np.random.default_rng(0)
    size = 10.0 ** rng.integers(-4, 5, 64)
    data = EmbeddedPreferences.from_arrays(
        (rng.standard_normal((40, 64)) + 5) * size,
        rng.integers(0, 20, 300),
        rng.integers(20, 40, 300),
        [str(u) for u in rng.integers(0, 5, 300)],
    )
    scale, directions = torch.from_numpy(1 / size), torch.from_numpy(rng.standard_normal((3, 64)))
    pairs = PackedPairs.pack(data, differences=stored)
    exact = torch.from_numpy(differences(data, pairs).double().numpy() / size) @ directions.t()
    folded = pairs.with_scale(scale.float()).project(directions.float())
    copied = replace(pairs, matrix=pairs.matrix * scale.float()).project(directions.float())
    assert (folded - exact).abs().max() < 2 * (copied - exact).abs().max() + 1e-6


def test_the_weights_of_comparisons_are_those_of_their_users():
    pairs = PackedPairs.pack(draw())
    weights = torch.randn(pairs.n_users, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(pairs.of_pairs(weights), weights[pairs.user])
