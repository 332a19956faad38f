"""Basis refinement: the bound on the expected loss, the minimum of its objective, and the effect on directions."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lorerm.model.posterior import Posterior
from lorerm.model.prior import WeightPrior
from lorerm.training import refinement, regularized, selection
from lorerm.training.pairs import PackedPairs
from lorerm.training.refinement import expected_loss, refine
from lorerm.training.regularized import Fit, Strengths
from planted import plant

STRENGTHS = Strengths(shared=1e-3, personal=2e-3)


@pytest.fixture(scope="module")
def pairs():
    data = plant(users=30, pairs=12, dimension=8, personal=1.0, noise=1.0, prompts=400).data
    packed = PackedPairs.pack(data, differences=True)
    return packed.with_scale(regularized.feature_scale(packed))


@pytest.fixture(scope="module")
def fit(pairs):
    shared = regularized.fit_shared(pairs, STRENGTHS.shared, torch.zeros(8))
    return regularized.fit_personal(pairs, 1e-3, regularized.spectral_start(pairs, shared, 3))


def prior_and_posterior(pairs, fit, *, certain=False):
    """Return an uncorrelated prior, and a posterior with random covariances or, if `certain`, without variance."""
    rng = np.random.default_rng(0)
    rank = len(fit.directions) + 1
    covariance = torch.eye(rank, dtype=torch.float64)
    covariance[0] = 0
    weights = torch.cat([torch.ones(pairs.n_users, 1), fit.deviations], dim=1).double()
    some = torch.from_numpy(rng.standard_normal((pairs.n_users, rank, rank)))
    covariances = some @ some.mT * (0.0 if certain else 0.1)
    prior = WeightPrior(torch.tensor([1.0, *[0.0] * (rank - 1)], dtype=torch.float64), covariance)
    return prior, Posterior(weights, covariances)


def test_the_bound_is_the_loss_where_weights_are_certain():
    rng = np.random.default_rng(0)
    projected, weights = (torch.from_numpy(rng.standard_normal((50, 3))) for _ in range(2))
    value, slope = expected_loss(projected, weights, weights[:, :, None] * weights[:, None, :])
    margin = (projected * weights).sum(dim=1)
    torch.testing.assert_close(value, -torch.nn.functional.logsigmoid(margin))
    torch.testing.assert_close(slope, -torch.sigmoid(-margin)[:, None] * weights)


def test_the_bound_is_close_above_the_expected_loss():
    """Compared with the mean over many draws of Gaussian weights."""
    rng = np.random.default_rng(1)
    projected, mean = (torch.from_numpy(rng.standard_normal((20, 3))) for _ in range(2))
    some = torch.from_numpy(rng.standard_normal((20, 3, 3)))
    covariance = 0.3 * some @ some.mT
    draws = mean + (torch.linalg.cholesky(covariance) @ torch.from_numpy(rng.standard_normal((4000, 20, 3, 1))))[..., 0]
    expected = -torch.nn.functional.logsigmoid((draws * projected).sum(dim=2)).mean(dim=0)
    value, _ = expected_loss(projected, mean, covariance + mean[:, :, None] * mean[:, None, :])
    assert (value > expected - 0.03).all()  # sampling noise
    assert (value - expected).mean() < 0.1


def test_the_slope_is_the_derivative_of_the_bound():
    rng = np.random.default_rng(2)
    projected, mean = (torch.from_numpy(rng.standard_normal((10, 4))) for _ in range(2))
    some = torch.from_numpy(rng.standard_normal((10, 4, 4)))
    second = some @ some.mT + mean[:, :, None] * mean[:, None, :]
    projected.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: expected_loss(z, mean, second)[0], projected)
    (expected,) = torch.autograd.grad(expected_loss(projected, mean, second)[0].sum(), projected)
    torch.testing.assert_close(expected_loss(projected, mean, second)[1], expected)


def test_no_rewards_at_all_cost_a_coins_toss():
    value, slope = expected_loss(torch.zeros(1, 2), torch.ones(1, 2), torch.eye(2)[None])
    torch.testing.assert_close(value, torch.full((1,), float(np.log(2))))
    torch.testing.assert_close(slope, torch.full((1, 2), -0.5))


@pytest.mark.parametrize("certain", [True, False])
@pytest.mark.parametrize("block", [1 << 16, 7])
def test_the_refined_basis_minimises_the_penalised_expected_loss(pairs, fit, certain, block, monkeypatch):
    """Compared with the same convex objective written in float64 and minimised by torch."""
    monkeypatch.setattr(refinement, "_TOLERANCE", 1e-12)
    monkeypatch.setattr(refinement, "_BLOCK", block)
    target = torch.linspace(-1, 1, 8)
    prior, posterior = prior_and_posterior(pairs, fit, certain=certain)
    found = refine(pairs, fit, prior, posterior, STRENGTHS, target)

    matrix = (pairs.matrix * pairs.scale).double()
    mean, covariance = posterior.weights[pairs.user], posterior.covariance[pairs.user]
    second = covariance + mean[:, :, None] * mean[:, None, :]
    basis = torch.zeros(3, 8, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([basis], max_iter=500, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def objective():
        optimiser.zero_grad()
        z = matrix @ basis.t()
        c = torch.einsum("nk,nkl,nl->n", z, second, z).clamp_min(1e-12).sqrt()
        loss = (torch.log(2 * torch.cosh(c / 2)) - (z * mean).sum(dim=1) / 2).mean()
        off = (basis[0] - target).square().sum()
        total = loss + STRENGTHS.shared * off + STRENGTHS.personal * basis[1:].square().sum()
        total.backward()
        return total

    optimiser.step(objective)
    torch.testing.assert_close(found.shared.double(), basis[0].detach(), rtol=1e-3, atol=1e-3)
    # The directions returned are orthonormal: their span is compared.
    q = torch.linalg.qr(basis[1:].detach().t()).Q
    torch.testing.assert_close(found.directions.t().double() @ found.directions.double(), q @ q.t(), rtol=0, atol=2e-3)
    # The root mean square of the deviations along them are the lengths of the minimiser's directions.
    size = torch.linalg.svdvals(basis[1:].detach())
    deviation = found.deviations.double().square().mean(dim=0).sqrt()
    torch.testing.assert_close(deviation, size, rtol=1e-2, atol=1e-3)


def test_the_mean_deviation_becomes_part_of_the_shared_direction(pairs, fit):
    """The same prior and posterior, expressed with another mean deviation, give the same directions."""
    prior, posterior = prior_and_posterior(pairs, fit)
    found = refine(pairs, fit, prior, posterior, STRENGTHS, torch.zeros(8))
    by = torch.tensor([0.7, -0.4], dtype=torch.float64)
    moved = replace(prior, mean=prior.mean + torch.cat([torch.zeros(1), by]))
    weights = posterior.weights.clone()
    # The mean deviation is scaled by a user's weight of the shared direction.
    weights[:, 1:] += by * weights[:, :1]
    start = replace(fit, shared=fit.shared - (by.float() @ fit.directions))
    again = refine(
        pairs, start, moved, Posterior(weights, _sheared(posterior.covariance, by)), STRENGTHS, torch.zeros(8)
    )
    torch.testing.assert_close(again.shared, found.shared, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(again.directions, found.directions, rtol=0, atol=5e-3)


def _sheared(covariance, by):
    shear = torch.eye(3, dtype=torch.float64)
    shear[1:, 0] = by
    return shear @ covariance @ shear.mT


def test_axes_without_variance_between_users_are_dropped(pairs, fit):
    prior, posterior = prior_and_posterior(pairs, fit)
    covariance = prior.covariance.clone()
    covariance[2] = covariance[:, 2] = 0
    found = refine(pairs, fit, replace(prior, covariance=covariance), posterior, STRENGTHS, torch.zeros(8))
    assert found.directions.shape == (1, 8)
    assert found.deviations.shape == (30, 1)


def test_steps_bound_the_iterations(pairs, fit):
    prior, posterior = prior_and_posterior(pairs, fit)
    found = refine(pairs, fit, prior, posterior, STRENGTHS, torch.zeros(8), steps=2)
    assert found.iterations == fit.iterations + 2


def test_refinement_improves_directions_where_users_have_few_comparisons():
    """400 users with 10 comparisons each: less of the true directions lies outside the fitted span."""
    population = plant(users=400, pairs=10, dimension=24, personal=1.5, noise=1.0, prompts=4000)
    packed = PackedPairs.pack(population.data)
    pairs = packed.with_scale(regularized.feature_scale(packed))
    shared = regularized.fit_shared(pairs, 1e-4, torch.zeros(24))
    before = regularized.fit_personal(pairs, 3e-4, regularized.spectral_start(pairs, shared, 3))
    choice = selection.Choice(Strengths(1e-4, 3e-4), 1.0, True, 1.0, None)
    after = selection.refine_once(pairs, before, choice, torch.zeros(24))
    assert off(after, population, pairs) < 0.97 * off(before, population, pairs)


def off(fit: Fit, population, pairs) -> float:
    """Return the share of the users' true directions, by norm, outside of the span of the fit's directions."""
    span = torch.linalg.qr((fit.basis * pairs.scale).double().t()).Q
    truth = torch.from_numpy(population.shared + population.deviations @ population.directions)
    return float((truth - truth @ span @ span.t()).norm() / truth.norm())
