"""Posterior modes and covariances: unique minima for any number of users at once, and inverse Hessians there."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from lorerm.model import posterior
from lorerm.model.posterior import solve
from lorerm.model.prior import Mixture, WeightPrior

SPACES = ["free", "simplex"]


def draw(space, n_users=5, n_pairs=40, rank=3, scale=2.0, seed=0):
    """Draw (projected, user, count, n_users, prior); the last user has no pairs."""
    rng = np.random.default_rng(seed)
    user = np.sort(rng.integers(0, max(1, n_users - 1), n_pairs))
    if space == "free":
        factor = rng.standard_normal((rank, rank))
        covariance = torch.from_numpy(factor @ factor.T + 0.1 * np.eye(rank))
        prior = WeightPrior(torch.from_numpy(rng.standard_normal(rank)), covariance)
    else:
        prior = WeightPrior(torch.from_numpy(rng.dirichlet(np.ones(rank))), concentration=float(rng.uniform(1, 5)))
    projected = torch.from_numpy(rng.standard_normal((n_pairs, rank))) * scale
    return projected, torch.from_numpy(user), torch.from_numpy(rng.uniform(0.3, 2, n_pairs)), n_users, prior


def loss(weights, projected, count, prior, temperature):
    """Return one user's negative log posterior, literally."""
    fit = -(count * torch.nn.functional.logsigmoid(projected @ weights / temperature)).sum()
    if prior.weight_space == "simplex":
        return fit + prior.concentration * (prior.mean * (prior.mean / weights).log()).sum()
    off = weights - prior.mean
    return fit + 0.5 * off @ torch.linalg.solve(prior.covariance, off)


def own(projected, user, count, u):
    return projected[user == u], count[user == u]


@settings(max_examples=30, deadline=None)
@given(
    space=st.sampled_from(SPACES),
    n_users=st.integers(1, 6),
    n_pairs=st.integers(0, 50),
    rank=st.integers(2, 5),
    scale=st.sampled_from([1e-3, 1.0, 30.0]),
    temperature=st.sampled_from([0.5, 1.0, 100.0]),
    seed=st.integers(0, 99),
)
def test_the_gradient_is_zero_at_the_solution(space, n_users, n_pairs, rank, scale, temperature, seed):
    projected, user, count, n_users, prior = draw(space, n_users, n_pairs, rank, scale, seed)
    found = solve(projected, user, count, n_users, prior, temperature)
    assert found.weights.shape == (n_users, rank)
    assert found.covariance.shape == (n_users, rank, rank)
    for u in range(n_users):
        weights = found.weights[u].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(weights, *own(projected, user, count, u), prior, temperature), weights)
        # The Newton decrement: how far, in nats, a quadratic model still is from its minimum.
        assert float(gradient @ found.covariance[u] @ gradient) < 1e-9


@pytest.mark.parametrize("space", SPACES)
def test_equals_a_general_optimiser_user_by_user(space):
    projected, user, count, n_users, prior = draw(space)
    found = solve(projected, user, count, n_users, prior, 1.5)
    for u in range(n_users):
        pairs = own(projected, user, count, u)

        def value(x, pairs=pairs):
            free = torch.softmax(torch.from_numpy(x), 0) if space == "simplex" else torch.from_numpy(x)
            return float(loss(free, *pairs, prior, 1.5))

        best = minimize(value, np.zeros(3), method="BFGS", options={"gtol": 1e-7})
        expected = torch.softmax(torch.from_numpy(best.x), 0) if space == "simplex" else torch.from_numpy(best.x)
        torch.testing.assert_close(found.weights[u], expected, rtol=1e-4, atol=1e-5)
        assert float(loss(found.weights[u], *pairs, prior, 1.5)) <= best.fun + 1e-9


@pytest.mark.parametrize("space", SPACES)
def test_without_comparisons_the_weights_are_exactly_the_prior_mean(space):
    projected, user, count, n_users, prior = draw(space)
    found = solve(projected, user, count, n_users, prior)
    torch.testing.assert_close(found.weights[-1], prior.mean, rtol=0, atol=1e-15)
    nothing = solve(projected[:0], user[:0], count[:0], 2, prior)
    torch.testing.assert_close(nothing.weights, prior.mean.expand(2, -1), rtol=0, atol=1e-15)
    if space == "free":
        torch.testing.assert_close(nothing.covariance[0], prior.covariance)


@pytest.mark.parametrize("space", SPACES)
def test_blocks_do_not_change_the_result(space, monkeypatch):
    """Nor does the number of threads, which take a block each."""
    problem = draw(space, n_users=9, n_pairs=80)
    whole = solve(*problem)
    monkeypatch.setattr(posterior, "_BLOCK_ELEMENTS", 9 * 25)
    lengths = torch.bincount(problem[1], minlength=9).sort().values
    assert len(list(posterior._blocks(lengths, 9))) > 3
    threads = torch.get_num_threads()
    try:
        for some in (1, 2):
            torch.set_num_threads(some)
            blocks = solve(*problem)
            torch.testing.assert_close(whole.weights, blocks.weights, rtol=1e-6, atol=1e-6)
            torch.testing.assert_close(whole.covariance, blocks.covariance, rtol=1e-5, atol=1e-6)
    finally:
        torch.set_num_threads(threads)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=30), st.integers(1, 800))
def test_blocks_hold_every_user_once_and_few_pairs(lengths, elements):
    lengths = torch.tensor(sorted(lengths))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(posterior, "_BLOCK_ELEMENTS", elements)
        blocks = [range(len(lengths))[block] for block in posterior._blocks(lengths, 4)]
    assert [u for block in blocks for u in block] == list(range(len(lengths)))
    for block in blocks:
        assert len(block) == 1 or len(block) * int(lengths[block[-1]]) * 4 <= elements


@pytest.mark.parametrize("space", SPACES)
def test_users_do_not_depend_on_each_other(space):
    """Each user gets the same weights alone and in another order of users."""
    projected, user, count, n_users, prior = draw(space)
    together = solve(projected, user, count, n_users, prior)
    order = [3, 0, 4, 2, 1]
    rows = torch.cat([torch.nonzero(user == u)[:, 0] for u in order])
    moved = torch.tensor([order.index(int(u)) for u in user[rows]])
    shuffled = solve(projected[rows], moved, count[rows], n_users, prior)
    torch.testing.assert_close(shuffled.weights, together.weights[order], rtol=1e-6, atol=1e-6)
    for u in range(n_users):
        pairs, counts = own(projected, user, count, u)
        alone = solve(pairs, torch.zeros(len(pairs), dtype=torch.int64), counts, 1, prior)
        torch.testing.assert_close(alone.weights[0], together.weights[u], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("scale", [1.0, 1e3, 1e6])
def test_consistent_comparisons_give_finite_weights(space, scale):
    """Without a prior the weights would diverge."""
    projected, user, count, n_users, prior = draw(space)
    found = solve(projected.abs() * scale, user, count, n_users, prior)
    assert found.weights.isfinite().all()
    assert found.covariance.isfinite().all()
    if scale > 1:  # where the comparisons outweigh the prior
        assert float((projected.abs() * found.weights[user]).sum(dim=1).min()) > 0


def test_contradictory_comparisons_with_huge_log_odds_converge():
    """A temperature that is far too small makes the problem almost piecewise linear."""
    projected, user, count, n_users, prior = draw("free", n_pairs=60, scale=1e3, seed=41)
    found = solve(projected, user, count, n_users, prior)
    for u in range(n_users):
        weights = found.weights[u].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(weights, *own(projected, user, count, u), prior, 1.0), weights)
        assert float(gradient @ found.covariance[u] @ gradient) < 1e-6


def test_directions_without_variance_stay_at_the_mean():
    projected, user, count, n_users, prior = draw("free")
    covariance = prior.covariance.clone()
    covariance[1], covariance[:, 1] = 0, 0
    found = solve(projected, user, count, n_users, WeightPrior(prior.mean, covariance))
    assert (found.weights[:, 1] == prior.mean[1]).all()
    assert (found.covariance[:, 1].abs() < 1e-15).all()
    assert (found.weights[:-1, 0] != prior.mean[0]).all()


def test_a_prior_of_variance_zero_gives_its_mean():
    projected, user, count, n_users, _ = draw("free")
    mean = torch.tensor([1.0, -2.0, 0.5])
    prior = WeightPrior.fixed(mean)
    found = solve(projected, user, count, n_users, prior)
    assert prior.weight_space == "free"
    assert (found.weights == mean.double()).all()
    assert (found.covariance == 0).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(0, 60), st.sampled_from([0.1, 10.0, 1e3]), st.integers(0, 99))
def test_simplex_weights_are_positive_and_sum_to_one(rank, n_pairs, scale, seed):
    found = solve(*draw("simplex", n_pairs=n_pairs, rank=rank, scale=scale, seed=seed))
    assert float(found.weights.min()) > 0
    torch.testing.assert_close(found.weights.sum(dim=1), torch.ones(5, dtype=torch.float64))
    scatter = found.covariance.sum(dim=2).abs().max() / found.covariance.abs().max().clamp_min(1e-12)
    assert float(scatter) < 1e-9


def test_a_weight_of_prior_mean_zero_can_grow():
    prior = WeightPrior(torch.tensor([1.0, 0.0], dtype=torch.float64), concentration=1.0)
    projected = torch.tensor([[-5.0, 5.0]], dtype=torch.float64).expand(50, -1)
    found = solve(projected, torch.zeros(50, dtype=torch.int64), torch.ones(50), 1, prior)
    assert float(found.weights[0, 1]) > 0.5


@pytest.mark.parametrize("space", SPACES)
def test_the_covariance_is_the_inverse_hessian_by_finite_differences(space):
    """In simplex weight space along the directions that preserve the sum."""
    projected, user, count, n_users, prior = draw(space)
    found = solve(projected, user, count, n_users, prior)
    axes = torch.eye(3, dtype=torch.float64)
    if space == "simplex":
        axes = torch.linalg.svd(torch.ones(1, 3, dtype=torch.float64)).Vh[1:].t()
    step = 1e-4
    for u in range(n_users):
        pairs = own(projected, user, count, u)

        def value(t, at=found.weights[u], pairs=pairs):
            return float(loss(at + axes @ t, *pairs, prior, 1.0))

        k = axes.shape[1]
        moves = step * torch.eye(k, dtype=torch.float64)
        hessian = torch.tensor(
            [
                [(value(a + b) - value(a - b) - value(b - a) + value(-a - b)) / (4 * step**2) for b in moves]
                for a in moves
            ],
            dtype=torch.float64,
        )
        assert float(torch.linalg.eigvalsh(hessian).min()) > 0
        expected = axes @ torch.linalg.inv(hessian) @ axes.t()
        torch.testing.assert_close(found.covariance[u], expected, rtol=1e-3, atol=1e-4)


def test_more_comparisons_reduce_the_variance():
    projected, user, count, n_users, prior = draw("free")
    once, often = (solve(projected, user, factor * count, n_users, prior).covariance for factor in (1, 10))
    assert (torch.diagonal(often[:-1], dim1=1, dim2=2) < torch.diagonal(once[:-1], dim1=1, dim2=2)).all()


def test_a_comparison_of_weight_two_equals_two_comparisons():
    projected, user, count, n_users, prior = draw("free")
    double = solve(projected, user, 2 * count, n_users, prior).weights
    repeated = solve(
        projected.repeat_interleave(2, dim=0), user.repeat_interleave(2), count.repeat_interleave(2), n_users, prior
    ).weights
    torch.testing.assert_close(double, repeated, rtol=1e-6, atol=1e-6)


@pytest.fixture
def mixture():
    """Two components over two weights."""
    means = torch.tensor([[2.0, 1.0], [-1.0, 0.5]], dtype=torch.float64)
    covariances = torch.tensor([[[0.5, 0.1], [0.1, 0.3]], [[0.2, 0.0], [0.0, 1.0]]], dtype=torch.float64)
    return Mixture(torch.tensor([0.3, 0.7], dtype=torch.float64), means, covariances)


def few_comparisons(n_users=4, n_pairs=12, seed=3):
    projected, user, count, _, _ = draw("free", n_users, n_pairs, 2, 1.0, seed)
    return projected, user, count, n_users


def test_without_comparisons_the_posterior_has_the_moments_of_the_mixture(mixture):
    """Compared with the moments of draws from the mixture."""
    prior = WeightPrior.from_mixture(mixture)
    found = solve(*few_comparisons(n_pairs=0), prior)
    torch.testing.assert_close(found.weights, prior.mean.expand(4, -1))
    torch.testing.assert_close(found.covariance, prior.covariance.expand(4, -1, -1))
    rng = np.random.default_rng(0)
    component = rng.choice(2, 200_000, p=mixture.shares.numpy())
    factor = torch.linalg.cholesky(mixture.covariances).numpy()
    drawn = mixture.means.numpy()[component] + np.einsum(
        "nkl,nl->nk", factor[component], rng.standard_normal((200_000, 2))
    )
    np.testing.assert_allclose(prior.mean, drawn.mean(axis=0), atol=0.02)
    np.testing.assert_allclose(prior.covariance, np.cov(drawn.T), atol=0.03)


def test_weights_under_a_mixture_are_the_posterior_mean(mixture):
    """Compared with the integral on a fine grid; the Laplace approximation of each component is not exact."""
    projected, user, count, n_users = few_comparisons()
    found = solve(projected, user, count, n_users, WeightPrior.from_mixture(mixture))
    side = torch.linspace(-6, 7, 261, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side)
    density = torch.zeros(len(grid), dtype=torch.float64)
    for share, mean, covariance in zip(*mixture, strict=True):
        normal = torch.distributions.MultivariateNormal(mean, covariance)
        density += share * normal.log_prob(grid).exp()
    for u in range(n_users):
        z, weight = own(projected, user, count, u)
        likelihood = (torch.nn.functional.logsigmoid(grid @ z.t()) * weight).sum(dim=1).exp()
        mass = density * likelihood
        mean = (mass[:, None] * grid).sum(dim=0) / mass.sum()
        off = grid - mean
        covariance = torch.einsum("g,gk,gl->kl", mass, off, off) / mass.sum()
        torch.testing.assert_close(found.weights[u], mean, rtol=0, atol=0.12)
        torch.testing.assert_close(found.covariance[u], covariance, rtol=0, atol=0.25)


def test_two_equal_components_equal_one(mixture):
    twice = Mixture(mixture.shares, mixture.means[:1].repeat(2, 1), mixture.covariances[:1].repeat(2, 1, 1))
    one = Mixture(torch.ones(1, dtype=torch.float64), mixture.means[:1], mixture.covariances[:1])
    assert WeightPrior.from_mixture(one).mixture is None
    found, expected = (solve(*few_comparisons(), WeightPrior.from_mixture(prior)) for prior in (twice, one))
    torch.testing.assert_close(found.weights, expected.weights)
    torch.testing.assert_close(found.covariance, expected.covariance)


def test_many_comparisons_identify_the_component(mixture):
    """The weights of a user of the second component are found although their prior mean is far away."""
    rng = np.random.default_rng(0)
    projected = torch.from_numpy(rng.standard_normal((400, 2)))
    sign = torch.where(torch.from_numpy(rng.random(400)) < torch.sigmoid(projected @ mixture.means[1]), 1.0, -1.0)
    found = solve(
        projected * sign[:, None], torch.zeros(400).long(), torch.ones(400), 1, WeightPrior.from_mixture(mixture)
    )
    torch.testing.assert_close(found.weights[0], mixture.means[1], rtol=0, atol=0.5)
