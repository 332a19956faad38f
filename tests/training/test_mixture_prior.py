"""Mixture priors: planted components are found, a single component is a Gaussian, and scales are exact."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from lorerm.model.posterior import solve
from lorerm.model.prior import Mixture, WeightPrior
from lorerm.training import mixture_prior
from lorerm.training.mixture_prior import Likelihoods, fit_mixture, scale_mixture

CENTRES = np.array([[1.0, 3.0, 0.0], [1.0, -3.0, 1.0]])
INITIAL = WeightPrior(torch.tensor([1.0, 0, 0]).double(), torch.diag(torch.tensor([0.25, 4.0, 4.0])).double())


def draw(n_users=300, n_pairs=30, centres=CENTRES, within=0.3, seed=0):
    """Draw comparisons of users around some centres: the first arguments of `solve`, and each user's component."""
    rng = np.random.default_rng(seed)
    component = rng.integers(0, len(centres), n_users)
    weights = centres[component] + within * rng.standard_normal((n_users, 3))
    user = np.repeat(np.arange(n_users), n_pairs)
    z = rng.standard_normal((len(user), 3))
    p = 1 / (1 + np.exp(-(z * weights[user]).sum(axis=1)))
    z *= np.where(rng.random(len(user)) < p, 1, -1)[:, None]
    return (torch.from_numpy(z).float(), torch.from_numpy(user), torch.ones(len(user)), n_users), component


def test_quadratics_have_the_gradient_and_curvature_of_the_likelihood():
    """At the point of expansion."""
    (projected, user, count, n_users), _ = draw(n_users=5)
    found = Likelihoods.around(projected, user, count, n_users, INITIAL)

    def likelihood(weights):
        return torch.nn.functional.logsigmoid(projected[user == 2].double() @ weights).sum()

    at = found.weights[2].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(likelihood(at), at)
    torch.testing.assert_close(found.linear[2] - found.information[2] @ found.weights[2], gradient)
    hessian = torch.autograd.functional.hessian(likelihood, found.weights[2])
    torch.testing.assert_close(found.information[2], -hessian)


def test_the_posterior_of_the_quadratics_is_the_exact_one_under_the_initial_prior():
    problem, _ = draw(n_users=20)
    found = Likelihoods.around(*problem, INITIAL)
    alone = Mixture(torch.ones(1).double(), INITIAL.mean[None], INITIAL.covariance[None])
    exact = solve(*problem, INITIAL)
    torch.testing.assert_close(found.weights_under(alone), exact.weights, rtol=1e-6, atol=1e-6)
    _, parts, _ = found.posterior(alone)
    torch.testing.assert_close(parts.covariance[:, 0], exact.covariance, rtol=1e-6, atol=1e-8)


def test_a_weight_without_variance_stays_at_its_mean():
    problem, _ = draw(n_users=4)
    flat = INITIAL.covariance.clone()
    flat[0, 0] = 0
    mixture = Mixture(torch.ones(1).double(), INITIAL.mean[None], flat[None])
    weights = Likelihoods.around(*problem, INITIAL).weights_under(mixture)
    torch.testing.assert_close(weights[:, 0], torch.ones(4).double())


@pytest.mark.parametrize("learnt", [False, True])
def test_planted_components_are_found(learnt):
    """Component means are near the planted ones, and weights are closer to the truth than under a Gaussian."""
    problem, component = draw(n_pairs=12)
    likelihoods = Likelihoods.around(*problem, INITIAL)
    mixture = fit_mixture(likelihoods, INITIAL, reliability_learnt=learnt)
    assert mixture.shares.sum() == pytest.approx(1)
    nearest = torch.cdist(torch.from_numpy(CENTRES), mixture.means).min(dim=1).values
    assert float(nearest.max()) < 0.7
    truth = torch.from_numpy(CENTRES)[component]
    one = solve(*problem, INITIAL).weights
    several = solve(*problem, WeightPrior.from_mixture(mixture)).weights
    assert float((several - truth).square().mean()) < 0.5 * float((one - truth).square().mean())


def test_a_single_planted_component_gives_its_moments():
    centre = np.array([[1.0, 1.0, -0.5]])
    problem, _ = draw(centres=centre, within=0.7, n_users=400, n_pairs=100)
    mixture = fit_mixture(Likelihoods.around(*problem, INITIAL), INITIAL, reliability_learnt=True)
    mean, covariance = mixture.moments()
    torch.testing.assert_close(mean, torch.from_numpy(centre[0]), rtol=0, atol=0.2)
    torch.testing.assert_close(covariance, 0.49 * torch.eye(3).double(), rtol=0, atol=0.25)


def test_a_reliability_that_is_not_learnt_keeps_the_initial_moments():
    problem, _ = draw()
    mixture = fit_mixture(Likelihoods.around(*problem, INITIAL), INITIAL, reliability_learnt=False)
    wide = scale_mixture(mixture, 3.0, reliability_learnt=False)
    for one in (mixture, wide):
        assert one.means[:, 0].tolist() == pytest.approx([1.0] * len(one.means))
        assert one.covariances[:, 0].flatten().tolist() == pytest.approx([0.25, 0, 0] * len(one.means))


@pytest.mark.parametrize(("n_users", "found"), [(1, 1), (4, 1), (9, 1), (10, 2), (19, 3), (20, 4)])
def test_few_users_have_few_components(n_users, found):
    problem, _ = draw(n_users=n_users)
    mixture = fit_mixture(Likelihoods.around(*problem, INITIAL), INITIAL, reliability_learnt=True)
    assert len(mixture.shares) == found
    assert all(part.isfinite().all() for part in mixture)
    assert solve(*problem, WeightPrior.from_mixture(mixture)).weights.isfinite().all()


def test_identical_users_have_one_component():
    projected, user = torch.ones(40, 3), torch.arange(40)
    mixture = fit_mixture(
        Likelihoods.around(projected, user, torch.ones(40), 40, INITIAL), INITIAL, reliability_learnt=True
    )
    assert len(mixture.shares) == 1


def test_the_prior_scale_multiplies_the_covariance():
    problem, _ = draw()
    mixture = fit_mixture(Likelihoods.around(*problem, INITIAL), INITIAL, reliability_learnt=True)
    mean, covariance = mixture.moments()
    wide_mean, wide_covariance = scale_mixture(mixture, 3.0, reliability_learnt=True).moments()
    torch.testing.assert_close(wide_mean, mean)
    torch.testing.assert_close(wide_covariance, 3 * covariance)


def test_thinning_keeps_evenly_spaced_users():
    problem, _ = draw(n_users=30)
    likelihoods = Likelihoods.around(*problem, INITIAL)
    some = likelihoods.thinned(3)
    torch.testing.assert_close(some.weights, likelihoods.weights[[0, 14, 29]])
    assert likelihoods.thinned(30) is likelihoods


def test_expectation_maximisation_increases_the_evidence(monkeypatch):
    """Up to 0.01 nats per step, because the covariances are shrunk."""
    problem, _ = draw(n_users=100)
    likelihoods = Likelihoods.around(*problem, INITIAL)
    found = []
    step = mixture_prior._maximise

    def recorded(probability, parts):
        found.append(step(probability, parts))
        return found[-1]

    monkeypatch.setattr(mixture_prior, "_maximise", recorded)
    fit_mixture(likelihoods, INITIAL, reliability_learnt=True)
    evidence = [float(likelihoods.posterior(one)[2].mean()) for one in found]
    assert all(after > before - 0.01 for before, after in pairwise(evidence))
    assert evidence[-1] > evidence[0]
