"""The data term: its value equals a literal sum and its gradient finite differences, at any margin."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime

from lorerm.embedding.embedded_preferences import EmbeddedPreferences
from lorerm.training import operators
from lorerm.training.objective import negative_log_likelihood
from lorerm.training.pairs import PackedPairs


def draw(n_users, n_pairs, dimension, rank, seed):
    """Draw float64 comparisons, a basis [K, D] and weights [N, K]."""
    rng = np.random.default_rng(seed)
    users = np.concatenate([np.arange(n_users), rng.integers(0, n_users, n_pairs)])
    n = len(users)
    data = EmbeddedPreferences.from_arrays(
        rng.standard_normal((2 * n, dimension)),
        np.arange(n),
        np.arange(n, 2 * n),
        [str(u) for u in users],
        weights=rng.uniform(0.5, 2, n),
    )
    pairs = PackedPairs.pack(data, differences=True)
    pairs = replace(pairs, matrix=pairs.matrix.double(), weight=pairs.weight.double())
    basis = torch.from_numpy(rng.standard_normal((rank, dimension)))
    return pairs, basis, torch.from_numpy(rng.standard_normal((n_users, rank)))


def literal(pairs, basis, weights, temperature):
    """Return the mean over users of each user's weighted mean of -log(1 / (1 + exp(-margin)))."""
    total = 0.0
    for u in range(pairs.n_users):
        own = (pairs.user == u).numpy()
        margin = pairs.matrix.numpy()[own] @ basis.numpy().T @ weights[u].numpy() / temperature
        share = pairs.count.numpy()[own] / pairs.count.numpy()[own].sum()
        total += float(share @ np.log1p(np.exp(-margin)))
    return total / pairs.n_users


shapes = {
    "n_users": st.integers(1, 4),
    "n_pairs": st.integers(0, 8),
    "dimension": st.integers(1, 5),
    "rank": st.integers(1, 3),
    "seed": st.integers(0, 50),
}


@settings(max_examples=40, deadline=None)
@given(st.fixed_dictionaries(shapes), st.sampled_from([0.5, 1.0, 100.0]))
def test_the_value_equals_a_literal_sum(shape, temperature):
    pairs, basis, weights = draw(**shape)
    found = negative_log_likelihood(pairs, basis, weights, pairs.weight / pairs.n_users, temperature)
    assert float(found.loss) == pytest.approx(literal(pairs, basis, weights, temperature), rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.fixed_dictionaries(shapes), st.sampled_from([0.5, 1.0, 100.0]))
def test_gradients_are_those_of_finite_differences(shape, temperature):
    pairs, basis, weights = draw(**shape)
    pair_weight = pairs.weight / pairs.n_users

    def loss(x):
        b, w = torch.from_numpy(x).split([basis.numel(), weights.numel()])
        at = negative_log_likelihood(pairs, b.view_as(basis), w.view_as(weights), pair_weight, temperature)
        return float(at.loss)

    found = negative_log_likelihood(pairs, basis, weights, pair_weight, temperature)
    x = torch.cat([basis.flatten(), weights.flatten()]).numpy()
    numeric = approx_fprime(x, loss, 1e-7)
    analytic = torch.cat([found.basis.flatten(), found.weights.flatten()]).numpy()
    np.testing.assert_allclose(analytic, numeric, atol=3e-6)


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_an_offset_equals_a_fixed_direction(precision):
    """In one pass over float32 and in two over float64: the first direction's rewards are given as the offset."""
    pairs, basis, weights = draw(n_users=3, n_pairs=40, dimension=6, rank=3, seed=0)
    pairs = replace(pairs, matrix=pairs.matrix.to(precision), weight=pairs.weight.to(precision))
    basis, weights = basis.to(precision), weights.to(precision)
    assert pairs.in_one_pass(basis) == (precision == torch.float32)
    whole = negative_log_likelihood(pairs, basis, weights, pairs.weight, 2.0)
    offset = (pairs.project(basis[:1]) * pairs.of_pairs(weights[:, :1]))[:, 0]
    rest = negative_log_likelihood(pairs, basis[1:], weights[:, 1:].contiguous(), pairs.weight, 2.0, offset)
    torch.testing.assert_close(rest.loss, whole.loss)
    torch.testing.assert_close(rest.basis, whole.basis[1:])
    torch.testing.assert_close(rest.weights, whole.weights[:, 1:])


def test_both_storage_forms_agree():
    rng = np.random.default_rng(0)
    data = EmbeddedPreferences.from_arrays(
        rng.standard_normal((6, 4)).astype(np.float32),
        rng.integers(0, 3, 40),
        rng.integers(3, 6, 40),
        [str(u) for u in rng.integers(0, 5, 40)],
    )
    basis, weights = (torch.from_numpy(rng.standard_normal(shape)).float() for shape in ((2, 4), (5, 2)))
    one, other = (
        negative_log_likelihood(pairs, basis, weights, pairs.weight)
        for pairs in (PackedPairs.pack(data, differences=stored) for stored in (True, False))
    )
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("margin", [1e-4, 30.0, 1e3, 1e5])
def test_no_underflow_at_any_margin(margin):
    """log(sigmoid(-200)) is minus infinity in float32; the loss there is 200, its slope 1."""
    data = EmbeddedPreferences.from_arrays(
        np.array([[0.0], [1.0]], dtype=np.float32), [0, 1], [1, 0], ["wrong", "right"]
    )
    pairs = PackedPairs.pack(data, differences=True)
    found = negative_log_likelihood(pairs, torch.tensor([[margin]]), torch.ones(2, 1), torch.ones(2))
    assert float(found.loss) == pytest.approx(margin + 2 * np.log1p(np.exp(-margin)), rel=1e-6)
    assert float(found.weights[0, 0]) == pytest.approx(margin / (1 + np.exp(-margin)), rel=1e-6)
    assert all(part.isfinite().all() for part in found)


def test_a_repeated_comparison_equals_one_of_weight_two():
    rng = np.random.default_rng(0)
    responses = rng.standard_normal((6, 3)).astype(np.float32)
    twice = EmbeddedPreferences.from_arrays(responses, [0, 0, 2, 4], [1, 1, 3, 5], ["a", "a", "a", "b"])
    weighted = EmbeddedPreferences.from_arrays(responses, [0, 2, 4], [1, 3, 5], ["a", "a", "b"], weights=[2, 1, 1])
    basis, weights = (torch.from_numpy(rng.standard_normal(shape)).float() for shape in ((2, 3), (2, 2)))
    found = [
        negative_log_likelihood(pairs, basis, weights, pairs.weight)
        for pairs in map(PackedPairs.pack, (twice, weighted))
    ]
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("stored", [True, False])
def test_the_order_of_users_and_pairs_does_not_matter(stored):
    rng = np.random.default_rng(0)
    responses = rng.standard_normal((9, 4)).astype(np.float32)
    chosen, users = rng.integers(0, 9, 50), rng.integers(0, 6, 50)
    rejected = (chosen + rng.integers(1, 9, 50)) % 9
    basis, of_user = (torch.from_numpy(rng.standard_normal(shape)).float() for shape in ((3, 4), (6, 3)))
    found = []
    for order in (np.arange(50), rng.permutation(50)):
        ids = [str(u) for u in users[order]]
        pairs = PackedPairs.pack(
            EmbeddedPreferences.from_arrays(responses, chosen[order], rejected[order], ids), differences=stored
        )
        mine = [int(user) for user in pairs.user_ids]
        at = negative_log_likelihood(pairs, basis, of_user[mine], pairs.weight / pairs.n_users)
        found.append((at.loss, at.basis, at.weights[np.argsort(mine)]))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("stored", [True, False])
def test_any_number_of_threads_gives_the_same_within_rounding(stored, monkeypatch):
    monkeypatch.setattr(operators, "_WORTH_A_THREAD", 0)
    rng = np.random.default_rng(0)
    n = 4000
    data = EmbeddedPreferences.from_arrays(
        rng.standard_normal((3000, 600)).astype(np.float32),
        rng.integers(0, 1500, n),
        rng.integers(1500, 3000, n),
        [str(u) for u in rng.integers(0, 50, n)],
    )
    pairs = PackedPairs.pack(data, differences=stored)
    basis, weights = (torch.from_numpy(rng.standard_normal(shape)).float() for shape in ((4, 600), (50, 4)))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            found.append(negative_log_likelihood(pairs, basis, weights, pairs.weight))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6 * float(a.abs().max()))
