"""The kinds of people behind answers: what is planted is found, and one kind alone stays one."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from lorerm.model.posterior import solve
from lorerm.model.prior import Mixture, WeightPrior
from lorerm.training import mixture_prior
from lorerm.training.mixture_prior import Likelihoods, find_kinds, spread_out

CENTRES = np.array([[1.0, 3.0, 0.0], [1.0, -3.0, 1.0]])
ROUGH = WeightPrior(torch.tensor([1.0, 0, 0]).double(), torch.diag(torch.tensor([0.25, 4.0, 4.0])).double())


def answers(n_users=300, n_pairs=30, centres=CENTRES, within=0.3, seed=0):
    """Draw answers of people around some centres: the arguments of `solve` up to the prior, and each one's kind."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, len(centres), n_users)
    weights = centres[kind] + within * rng.standard_normal((n_users, 3))
    user = np.repeat(np.arange(n_users), n_pairs)
    z = rng.standard_normal((len(user), 3))
    chance = 1 / (1 + np.exp(-(z * weights[user]).sum(axis=1)))
    z *= np.where(rng.random(len(user)) < chance, 1, -1)[:, None]
    return (torch.from_numpy(z).float(), torch.from_numpy(user), torch.ones(len(user)), n_users), kind


def test_quadratics_touch_the_likelihood():
    """At the weights they are expanded around, gradient and curvature are the likelihood's."""
    (projected, user, count, n_users), _ = answers(n_users=5)
    found = Likelihoods.around(projected, user, count, n_users, ROUGH)

    def likelihood(weights):
        return torch.nn.functional.logsigmoid(projected[user == 2].double() @ weights).sum()

    at = found.weights[2].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(likelihood(at), at)
    torch.testing.assert_close(found.linear[2] - found.information[2] @ found.weights[2], gradient)
    hessian = torch.autograd.functional.hessian(likelihood, found.weights[2])
    torch.testing.assert_close(found.information[2], -hessian)


def test_the_posterior_of_quadratics_is_that_of_the_answers():
    """Under the prior that they were expanded under they give the same weights as the solve."""
    problem, _ = answers(n_users=20)
    found = Likelihoods.around(*problem, ROUGH)
    alone = Mixture(torch.ones(1).double(), ROUGH.mean[None], ROUGH.covariance[None])
    exact = solve(*problem, ROUGH)
    torch.testing.assert_close(found.weights_under(alone), exact.weights, rtol=1e-6, atol=1e-6)
    _, parts, _ = found.posterior(alone)
    torch.testing.assert_close(parts.covariance[:, 0], exact.covariance, rtol=1e-6, atol=1e-8)


def test_a_kind_without_spread_stays_at_its_mean():
    problem, _ = answers(n_users=4)
    flat = ROUGH.covariance.clone()
    flat[0, 0] = 0
    mixture = Mixture(torch.ones(1).double(), ROUGH.mean[None], flat[None])
    weights = Likelihoods.around(*problem, ROUGH).weights_under(mixture)
    torch.testing.assert_close(weights[:, 0], torch.ones(4).double())


@pytest.mark.parametrize("learnt", [False, True])
def test_planted_kinds_are_found(learnt):
    """The kinds' means are the planted ones, and everybody's weights come nearer to the truth than under a Gaussian."""
    problem, kind = answers(n_pairs=12)
    likelihoods = Likelihoods.around(*problem, ROUGH)
    mixture = find_kinds(likelihoods, ROUGH, consistency_learnt=learnt)
    assert mixture.shares.sum() == pytest.approx(1)
    nearest = torch.cdist(torch.from_numpy(CENTRES), mixture.means).min(dim=1).values
    assert float(nearest.max()) < 0.7
    truth = torch.from_numpy(CENTRES)[kind]
    one = solve(*problem, ROUGH).weights
    several = solve(*problem, WeightPrior.from_mixture(mixture)).weights
    assert float((several - truth).square().mean()) < 0.5 * float((one - truth).square().mean())


def test_one_kind_alone_is_nearly_a_gaussian():
    """Where people are of one kind, the mixture's moments are theirs, given answers enough."""
    centre = np.array([[1.0, 1.0, -0.5]])
    problem, _ = answers(centres=centre, within=0.7, n_users=400, n_pairs=100)
    mixture = find_kinds(Likelihoods.around(*problem, ROUGH), ROUGH, consistency_learnt=True)
    mean, covariance = mixture.moments()
    torch.testing.assert_close(mean, torch.from_numpy(centre[0]), rtol=0, atol=0.2)
    torch.testing.assert_close(covariance, 0.49 * torch.eye(3).double(), rtol=0, atol=0.25)


def test_consistency_stays_as_assumed():
    problem, _ = answers()
    mixture = find_kinds(Likelihoods.around(*problem, ROUGH), ROUGH, consistency_learnt=False)
    wide = spread_out(mixture, 3.0, consistency_learnt=False)
    for one in (mixture, wide):
        assert one.means[:, 0].tolist() == pytest.approx([1.0] * len(one.means))
        assert one.covariances[:, 0].flatten().tolist() == pytest.approx([0.25, 0, 0] * len(one.means))


@pytest.mark.parametrize(("n_users", "found"), [(1, 1), (4, 1), (9, 1), (10, 2), (19, 3), (20, 4)])
def test_few_people_are_of_few_kinds(n_users, found):
    problem, _ = answers(n_users=n_users)
    mixture = find_kinds(Likelihoods.around(*problem, ROUGH), ROUGH, consistency_learnt=True)
    assert len(mixture.shares) == found
    assert all(part.isfinite().all() for part in mixture)
    assert solve(*problem, WeightPrior.from_mixture(mixture)).weights.isfinite().all()


def test_people_who_are_all_alike_are_one_kind():
    projected, user = torch.ones(40, 3), torch.arange(40)
    mixture = find_kinds(Likelihoods.around(projected, user, torch.ones(40), 40, ROUGH), ROUGH, consistency_learnt=True)
    assert len(mixture.shares) == 1


def test_spreading_out_multiplies_the_variance_between_people():
    problem, _ = answers()
    mixture = find_kinds(Likelihoods.around(*problem, ROUGH), ROUGH, consistency_learnt=True)
    mean, covariance = mixture.moments()
    wide_mean, wide_covariance = spread_out(mixture, 3.0, consistency_learnt=True).moments()
    torch.testing.assert_close(wide_mean, mean)
    torch.testing.assert_close(wide_covariance, 3 * covariance)


def test_thinning_keeps_evenly_spaced_users():
    problem, _ = answers(n_users=30)
    likelihoods = Likelihoods.around(*problem, ROUGH)
    some = likelihoods.thinned(3)
    torch.testing.assert_close(some.weights, likelihoods.weights[[0, 14, 29]])
    assert likelihoods.thinned(30) is likelihoods


def test_expectation_maximisation_never_makes_the_answers_less_likely(monkeypatch):
    """Without the people that stand for the prior on covariances, each step raises the evidence."""
    problem, _ = answers(n_users=100)
    likelihoods = Likelihoods.around(*problem, ROUGH)
    found = []
    step = mixture_prior._of_kinds

    def noted(probability, parts):
        found.append(step(probability, parts))
        return found[-1]

    monkeypatch.setattr(mixture_prior, "_of_kinds", noted)
    find_kinds(likelihoods, ROUGH, consistency_learnt=True)
    evidence = [float(likelihoods.posterior(one)[2].mean()) for one in found]
    assert all(after > before - 0.01 for before, after in pairwise(evidence))
    assert evidence[-1] > evidence[0]
