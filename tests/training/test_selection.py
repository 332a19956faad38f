"""Choice of settings: smallest validation loss, fitted priors, refinements, and the end of a path."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from lorerm.model.prior import WeightPrior
from lorerm.training import mixture_prior, regularized, selection
from lorerm.training.mixture_prior import Likelihoods, fit_mixture
from lorerm.training.regularized import Fit, Strengths
from lorerm.training.selection import Choice
from lorerm.training.validation import Validation, best_temperature
from planted import plant


@pytest.fixture(scope="module")
def validation(splits):
    """A validation split on scaled features, as the trainer makes it."""
    found = Validation.split(splits.train_seen, 0)
    return found.with_scale(regularized.feature_scale(found.train))


@pytest.fixture(scope="module")
def target(validation):
    return torch.zeros(validation.train.matrix.shape[1])


@pytest.fixture(scope="module")
def shared(validation, target):
    return selection.choose_shared(validation, target)


def test_the_initial_prior_has_the_moments_of_the_deviations():
    deviations = torch.from_numpy(np.random.default_rng(0).standard_normal((50, 2))).float() + torch.tensor([1.0, -2.0])
    prior = selection.initial_prior(Fit(torch.zeros(3), torch.eye(3)[:2], deviations, 1))
    assert prior.weight_space == "free"
    assert prior.mean[0] == 1
    torch.testing.assert_close(prior.mean[1:], deviations.double().mean(dim=0))
    assert prior.covariance[0].tolist() == [selection.RELIABILITY_SD**2, 0, 0]
    torch.testing.assert_close(prior.covariance[1:, 1:], torch.cov(deviations.double().t(), correction=0))


def test_without_deviations_the_prior_is_fixed(validation, shared):
    fit = replace(shared[1], directions=torch.zeros(0, len(shared[1].shared)), deviations=torch.zeros(5, 0))
    prior = selection.fit_prior(fit, validation.train.project(fit.basis), validation.train, shared[0])
    assert prior.mean.tolist() == [1.0]
    assert prior.covariance.tolist() == [[0.0]]
    assert prior.mixture is None


@pytest.mark.parametrize("learnt", [False, True])
def test_the_fitted_prior_is_scaled_but_for_a_reliability_that_is_not_learnt(validation, path, shared, learnt):
    fit = path.leading(4, 3)
    choice = replace(shared[0], prior_scale=0.3, reliability_learnt=learnt)
    projected = validation.train.project(fit.basis)
    prior = selection.fit_prior(fit, projected, validation.train, choice)
    whole = selection.fit_prior(fit, projected, validation.train, replace(choice, prior_scale=1.0))
    torch.testing.assert_close(prior.covariance[1:, 1:], 0.3 * whole.covariance[1:, 1:])
    torch.testing.assert_close(prior.mean, whole.mean)
    reliability = (float(prior.mean[0]), float(prior.covariance[0, 0]))
    assert (reliability == pytest.approx((1, selection.RELIABILITY_SD**2))) != learnt


def test_the_prior_of_very_many_users_is_fitted_to_evenly_spaced_ones(validation, path, shared, monkeypatch):
    fit, pairs = path.leading(4, 3), validation.train
    projected, initial = pairs.project(fit.basis), selection.initial_prior(fit)
    some = pairs.n_users // 2
    monkeypatch.setattr(selection, "_USERS_FOR_PRIOR", some)
    likelihoods = Likelihoods.around(projected, pairs.user, pairs.count, pairs.n_users, initial)
    mixture = fit_mixture(likelihoods.thinned(some), initial, reliability_learnt=True)
    found = selection.fit_prior(fit, projected, pairs, replace(shared[0], prior_scale=1.0, reliability_learnt=True))
    torch.testing.assert_close(found.covariance, WeightPrior.from_mixture(mixture).covariance)
    torch.testing.assert_close(found.mean, WeightPrior.from_mixture(mixture).mean)


def test_the_shared_strength_with_the_smallest_loss_is_chosen(validation, target):
    """Compared with fits of each strength from a cold start."""
    choice, fit = selection.choose_shared(validation, target)
    losses = {}
    for strength in selection.SHARED_PATH:
        margins = validation.held_out.project(regularized.fit_shared(validation.train, strength, target).basis)[:, 0]
        losses[strength] = validation.score(margins, best_temperature(margins, validation.held_out.weight)).loss
    assert choice.strengths.shared in selection.SHARED_PATH
    assert choice.strengths.personal is None
    # The fit returned is in log-odds: its best temperature is 1.
    margins = validation.held_out.project(fit.basis)[:, 0]
    assert best_temperature(margins, validation.held_out.weight) == pytest.approx(1, rel=1e-3)
    loss = validation.score(margins, 1.0).loss
    assert loss == pytest.approx(losses[choice.strengths.shared], rel=2e-3)
    assert loss < min(losses.values()) * 1.01


def test_one_direction_is_scored_at_each_users_reliability(validation, shared):
    """The accuracy does not depend on it; the loss is that of scales fitted to each user's comparisons."""
    choice, fit = shared
    plain = validation.score(validation.held_out.project(fit.basis)[:, 0], 1.0)
    np.testing.assert_array_equal(choice.score.accuracies, plain.accuracies)
    assert choice.score.loss < plain.loss
    user = validation.train.user_ids.index(validation.held_out.user_ids[0])
    margins = validation.train.project(fit.basis)[validation.train.user == user, 0].double()
    count = validation.train.count[validation.train.user == user]
    scales = torch.linspace(-1, 4, 5001).double()
    penalty = (scales - 1).square() / (2 * selection.RELIABILITY_SD**2)
    losses = -(torch.nn.functional.logsigmoid(scales[:, None] * margins) * count).sum(dim=1) + penalty
    own = validation.score(validation.held_out.project(fit.basis)[:, 0] * float(scales[losses.argmin()]), 1.0)
    assert choice.score.losses[0] == pytest.approx(own.losses[0], rel=1e-3)


@pytest.fixture(scope="module")
def path(validation, shared):
    return selection.PersonalPath(validation.train, shared[1], 4)


def test_directions_that_vanished_return_where_the_penalty_is_weaker(validation, shared, monkeypatch):
    """Deviations of 0 are stationary at every strength; the path starts anew from the spectral start."""
    monkeypatch.setattr(selection, "PERSONAL_PATH", (1e4, 1e-3))
    path = selection.PersonalPath(validation.train, shared[1], 3)
    assert len(path.leading(0, 3).directions) == 0
    assert len(path.leading(1, 3).directions) == 2


def test_ranks_share_the_fits_of_a_path(validation, shared, monkeypatch):
    """Strengths are fitted in order, none twice."""
    fitted = []

    def fit_personal(pairs, strength, start):
        fitted.append(strength)
        return regularized.fit_personal(pairs, strength, start)

    monkeypatch.setattr(selection, "fit_personal", fit_personal)
    path = selection.PersonalPath(validation.train, shared[1], 4)
    whole, first = path.leading(4, 4), path.leading(4, 2)
    path.leading(1, 3)
    assert fitted == list(selection.PERSONAL_PATH[:5])
    torch.testing.assert_close(first.directions, whole.directions[:1])
    torch.testing.assert_close(first.deviations, whole.deviations[:, :1])


def test_a_start_on_other_comparisons_is_near_the_fit(path, validation, shared):
    """It has a row for each of their users, and the fit from there takes few iterations."""
    found = path.leading(4, 3)
    start = selection.start_from(found, validation.few_shot, shared[1])
    assert start.deviations.shape == (validation.few_shot.n_users, 2)
    assert torch.equal(start.shared, shared[1].shared)
    again = selection.start_from(found, validation.train, shared[1])
    fitted, before = found.deviations @ found.directions, again.deviations @ again.directions
    assert float((fitted - before).norm()) < 0.3 * float(fitted.norm())
    strength = selection.PERSONAL_PATH[4]
    assert regularized.fit_personal(validation.train, strength, again).iterations < 40


def score_adapted(validation, basis, prior):
    """The score of every user's posterior weights under a prior."""
    weights = [pairs.posterior(pairs.project(basis), prior).weights.float() for pairs in validation.fitted]
    return validation.score(validation.margins(basis, torch.cat(weights)), 1.0)


def test_deviations_are_chosen_where_users_differ(validation, shared, path, monkeypatch):
    for limits in (mixture_prior._STEPS, mixture_prior._TOLERANCE):
        monkeypatch.setitem(limits, False, limits[True])
    choice = selection.choose_personal(validation, shared[0], path, rank=3)
    assert choice.strengths.personal in selection.PERSONAL_PATH
    assert choice.strengths.shared == shared[0].strengths.shared
    assert choice.prior_scale in selection.PRIOR_SCALES
    assert choice.score.loss < shared[0].score.loss - 0.05
    assert choice.score.user_ids == validation.held_out.user_ids
    # The score is that of posterior modes under the chosen prior.
    prior = selection.fit_prior(choice.fit, validation.train.project(choice.fit.basis), validation.train, choice)
    again = score_adapted(validation, choice.fit.basis, prior)
    np.testing.assert_allclose(choice.score.losses, again.losses, rtol=1e-6)


def test_refinements_are_added_while_each_improves_by_one_se(validation, shared, path, target, monkeypatch):
    """The third gains nothing and is left out."""
    gains, tried = iter([0.1, 0.05, 0.0]), []

    def scored(validation, choice, fit, **_):
        plain = shared[0].score
        gain = next(gains) if choice.refinements else 0.0
        losses[choice.refinements] = losses.get(choice.refinements - 1, plain.losses) - gain
        tried.append(fit)
        return replace(choice, score=replace(plain, losses=losses[choice.refinements]))

    losses = {}
    monkeypatch.setattr(selection, "_choose_prior", scored)
    found = selection.choose_refinements(
        validation, Choice(Strengths(1e-3, 1e-3), 1.0, True, 1.0, None, path.leading(4, 3)), target
    )
    assert found.refinements == 2
    assert len(tried) == 4
    assert tried[0] is found.fit
    assert not any(torch.equal(one.directions, other.directions) for one, other in itertools.pairwise(tried))


def test_refined_directions_are_scored_with_posterior_modes(validation, shared, path, target, monkeypatch):
    monkeypatch.setattr(selection, "_improves", lambda choice, simpler: choice.refinements <= 1)
    chosen = Choice(Strengths(1e-3, 1e-3), 1.0, True, 1.0, None, path.leading(4, 3))
    choice = selection.choose_refinements(validation, chosen, target)
    assert choice.refinements == 1
    fit = selection.refine_once(validation.train, choice.fit, choice, target)
    prior = selection.fit_prior(fit, validation.train.project(fit.basis), validation.train, choice)
    np.testing.assert_allclose(choice.score.losses, score_adapted(validation, fit.basis, prior).losses, rtol=1e-6)


def test_a_fit_without_deviations_is_not_refined(validation, shared, target):
    fit = replace(shared[1], deviations=torch.zeros(validation.train.n_users, 0))
    choice = Choice(Strengths(1e-3, 1e-3), 1.0, True, 1.0, None)
    assert selection.refine_once(validation.train, fit, choice, target) is fit
    assert selection.choose_refinements(validation, choice, target) is choice
    assert selection.choose_refinements(None, replace(choice, fit=fit), target).refinements == 0


def test_a_refinement_without_directions_left_is_not_chosen(validation, shared, path, target, monkeypatch):
    without = replace(shared[1], deviations=torch.zeros(validation.train.n_users, 0))
    monkeypatch.setattr(selection, "refine", lambda *arguments: without)
    chosen = Choice(Strengths(1e-3, 1e-3), 1.0, True, 1.0, None, path.leading(4, 3))
    assert selection.choose_refinements(validation, chosen, target).refinements == 0


def test_penalties_too_strong_for_any_deviation_do_not_end_the_search(validation, shared, monkeypatch):
    monkeypatch.setattr(selection, "PERSONAL_PATH", (1e5, 1e4, 1e3, 1e-2, 1e-3))
    path = selection.PersonalPath(validation.train, shared[1], 3)
    assert selection.choose_personal(validation, shared[0], path, rank=3).strengths.personal in (1e-2, 1e-3)


def test_a_personal_choice_is_never_worse_than_the_shared_direction():
    data = plant(users=10, pairs=16, dimension=6, personal=0, noise=1.0, prompts=200).data
    validation = Validation.split(data, 0)
    validation = validation.with_scale(regularized.feature_scale(validation.train))
    choice, fit = selection.choose_shared(validation, torch.zeros(6))
    path = selection.PersonalPath(validation.train, fit, 5)
    for rank in (2, 3, 5):
        assert selection.choose_personal(validation, choice, path, rank).score.loss <= choice.score.loss


def test_without_validation_the_shared_strength_falls_back(target):
    choice, fit = selection.choose_shared(None, target)
    assert (choice.strengths, choice.score, fit) == (Strengths(selection.FALLBACK.shared), None, None)


def test_a_path_ends_after_two_clearly_worse_strengths(validation, target, monkeypatch):
    """The weaker strengths after them are not fitted."""
    tried = []
    losses = iter([0.7, 0.5, 0.6, 0.5005, 0.6, 0.6, 0.1])

    def fit_shared(pairs, strength, target, start):
        tried.append(strength)
        return Fit(torch.ones(len(target)), torch.zeros(0, len(target)), torch.zeros(pairs.n_users, 0), 1)

    def score(self, margins, temperature):
        return replace(scored, losses=np.full(2, next(losses)))

    scored = validation.score(torch.zeros(len(validation.held_out)), 1.0)
    monkeypatch.setattr(selection, "fit_shared", fit_shared)
    monkeypatch.setattr(Validation, "score", score)
    monkeypatch.setattr(selection, "score_direction", lambda *_: scored)
    choice, _ = selection.choose_shared(validation, target, path=[7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    assert tried == [7.0, 6.0, 5.0, 4.0, 3.0, 2.0]
    assert choice.strengths.shared == 6.0


def test_a_choice_without_a_score_has_infinite_loss():
    assert Choice(Strengths(1.0)).loss == float("inf")
