"""Selection: the candidate with the least validation loss, the priors that the fits suggest, and when a path ends."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from lorerm.model.prior import WeightPrior
from lorerm.training import mixture_prior, regularized, selection
from lorerm.training.mixture_prior import Likelihoods, find_kinds
from lorerm.training.regularized import Fit, Strengths
from lorerm.training.selection import Choice
from lorerm.training.validation import Validation, best_temperature
from planted import plant


@pytest.fixture(scope="module")
def validation(cells):
    """Validation cells on scaled features, as the trainer makes them."""
    found = Validation.cut(cells.train_seen, 0)
    scale = regularized.feature_scale(found.fit)
    return replace(
        found,
        fit=found.fit.with_scale(scale),
        shots=found.shots.with_scale(scale),
        held=found.held.with_scale(scale),
    )


@pytest.fixture(scope="module")
def target(validation):
    return torch.zeros(validation.fit.matrix.shape[1])


@pytest.fixture(scope="module")
def shared(validation, target):
    return selection.choose_shared(validation, target)


def test_the_rough_prior_is_the_gaussian_of_the_fits_users():
    deviations = torch.from_numpy(np.random.default_rng(0).standard_normal((50, 2))).float() + torch.tensor([1.0, -2.0])
    prior = selection.rough_prior(Fit(torch.zeros(3), torch.eye(3)[:2], deviations, 1))
    assert prior.weight_space == "free"
    assert prior.mean[0] == 1
    torch.testing.assert_close(prior.mean[1:], deviations.double().mean(dim=0))
    assert prior.covariance[0].tolist() == [selection.CONSISTENCY**2, 0, 0]
    torch.testing.assert_close(prior.covariance[1:, 1:], torch.cov(deviations.double().t(), correction=0))


def test_without_deviations_the_prior_is_fixed(validation, shared):
    fit = replace(shared[1], directions=torch.zeros(0, len(shared[1].shared)), deviations=torch.zeros(5, 0))
    prior = selection.prior_of(fit, validation.fit.project(fit.basis), validation.fit, shared[0])
    assert prior.mean.tolist() == [1.0]
    assert prior.covariance.tolist() == [[0.0]]
    assert prior.mixture is None


@pytest.mark.parametrize("learnt", [False, True])
def test_the_prior_is_that_of_the_kinds_of_the_fits_users(validation, path, shared, learnt):
    fit = path.leading(4, 3)
    choice = replace(shared[0], spread=0.3, consistency_learnt=learnt)
    projected = validation.fit.project(fit.basis)
    prior = selection.prior_of(fit, projected, validation.fit, choice)
    whole = selection.prior_of(fit, projected, validation.fit, replace(choice, spread=1.0))
    torch.testing.assert_close(prior.covariance[1:, 1:], 0.3 * whole.covariance[1:, 1:])
    torch.testing.assert_close(prior.mean, whole.mean)
    consistency = (float(prior.mean[0]), float(prior.covariance[0, 0]))
    assert (consistency == pytest.approx((1, selection.CONSISTENCY**2))) != learnt


def test_of_very_many_users_some_show_the_kinds(validation, path, shared, monkeypatch):
    fit, pairs = path.leading(4, 3), validation.fit
    projected, rough = pairs.project(fit.basis), selection.rough_prior(fit)
    some = pairs.n_users // 2
    monkeypatch.setattr(selection, "_MANY_USERS", some)
    everybody = Likelihoods.around(projected, pairs.user, pairs.count, pairs.n_users, rough)
    kinds = find_kinds(everybody.thinned(some), rough, consistency_learnt=True)
    found = selection.prior_of(fit, projected, pairs, replace(shared[0], spread=1.0, consistency_learnt=True))
    torch.testing.assert_close(found.covariance, WeightPrior.from_mixture(kinds).covariance)
    torch.testing.assert_close(found.mean, WeightPrior.from_mixture(kinds).mean)


@pytest.mark.parametrize("concentration", [2.0, 10.0, 60.0])
def test_the_concentration_is_that_of_the_dirichlet(concentration):
    rng = np.random.default_rng(0)
    weights = torch.from_numpy(rng.dirichlet(concentration * np.array([0.5, 0.3, 0.2]), 20_000))
    assert selection.simplex_concentration(weights) == pytest.approx(concentration, rel=0.05)


def test_the_concentration_has_bounds():
    """Users in the corners say at most one nat; users who are all alike, or one alone, are no division by zero."""
    assert selection.simplex_concentration(torch.eye(3)) == 1.0
    alike = selection.simplex_concentration(torch.tensor([[0.2, 0.8]] * 4))
    assert 1e6 < alike < float("inf")
    assert np.isfinite(selection.simplex_concentration(torch.tensor([[1.0, 0.0]])))


def test_the_shared_strength_with_the_least_loss_is_chosen(validation, target):
    """Each strength fitted from a cold start: the chosen one is as good as the best of them."""
    choice, fit = selection.choose_shared(validation, target)
    losses = {}
    for strength in selection.SHARED_PATH:
        margins = validation.held.project(regularized.fit_shared(validation.fit, strength, target).basis)[:, 0]
        losses[strength] = validation.score(margins, best_temperature(margins, validation.held.weight)).loss
    assert choice.strengths.shared in selection.SHARED_PATH
    assert choice.strengths.personal is None
    # The fit that comes with it is in log-odds: temperature 1 is its best.
    margins = validation.held.project(fit.basis)[:, 0]
    assert best_temperature(margins, validation.held.weight) == pytest.approx(1, rel=1e-3)
    loss = validation.score(margins, 1.0).loss
    assert loss == pytest.approx(losses[choice.strengths.shared], rel=2e-3)
    assert loss < min(losses.values()) * 1.01


def test_one_direction_is_scored_at_each_users_own_consistency(validation, shared):
    """The accuracy stays what it is, and the loss is that of scales fitted to each user's own pairs."""
    choice, fit = shared
    plain = validation.score(validation.held.project(fit.basis)[:, 0], 1.0)
    np.testing.assert_array_equal(choice.score.accuracies, plain.accuracies)
    assert choice.score.loss < plain.loss
    user = validation.fit.user_ids.index(validation.held.user_ids[0])
    margins = validation.fit.project(fit.basis)[validation.fit.user == user, 0].double()
    count = validation.fit.count[validation.fit.user == user]
    scales = torch.linspace(-1, 4, 5001).double()
    penalty = (scales - 1).square() / (2 * selection.CONSISTENCY**2)
    losses = -(torch.nn.functional.logsigmoid(scales[:, None] * margins) * count).sum(dim=1) + penalty
    own = validation.score(validation.held.project(fit.basis)[:, 0] * float(scales[losses.argmin()]), 1.0)
    assert choice.score.losses[0] == pytest.approx(own.losses[0], rel=1e-3)


@pytest.fixture(scope="module")
def path(validation, shared):
    return selection.PersonalPath(validation.fit, shared[1], 4)


def test_directions_that_vanished_come_back_where_the_penalty_is_weaker(validation, shared, monkeypatch):
    """No deviation at all is a stationary point at every strength: the path must not stay there."""
    monkeypatch.setattr(selection, "PERSONAL_PATH", (1e4, 1e-3))
    path = selection.PersonalPath(validation.fit, shared[1], 3)
    assert len(path.leading(0, 3).directions) == 0
    assert len(path.leading(1, 3).directions) == 2


def test_a_path_serves_all_ranks_with_its_fits(validation, shared, monkeypatch):
    """Strengths in order, none fitted twice."""
    fitted = []

    def fit_personal(pairs, strength, start):
        fitted.append(strength)
        return regularized.fit_personal(pairs, strength, start)

    monkeypatch.setattr(selection, "fit_personal", fit_personal)
    path = selection.PersonalPath(validation.fit, shared[1], 4)
    whole, first = path.leading(4, 4), path.leading(4, 2)
    path.leading(1, 3)
    assert fitted == list(selection.PERSONAL_PATH[:5])
    torch.testing.assert_close(first.directions, whole.directions[:1])
    torch.testing.assert_close(first.deviations, whole.deviations[:, :1])


def test_a_start_on_more_pairs_is_near_its_fit(path, validation, shared):
    """It has a row for each user of those pairs, and a few iterations are enough from there."""
    found = path.leading(4, 3)
    start = selection.start_from(found, validation.shots, shared[1])
    assert start.deviations.shape == (validation.shots.n_users, 2)
    assert torch.equal(start.shared, shared[1].shared)
    again = selection.start_from(found, validation.fit, shared[1])
    fitted, before = found.deviations @ found.directions, again.deviations @ again.directions
    assert float((fitted - before).norm()) < 0.3 * float(fitted.norm())
    strength = selection.PERSONAL_PATH[4]
    assert regularized.fit_personal(validation.fit, strength, again).steps < 40


def test_personal_directions_are_chosen_where_people_differ(validation, shared, path, monkeypatch):
    for limits in (mixture_prior._STEPS, mixture_prior._TOLERANCE):
        monkeypatch.setitem(limits, False, limits[True])
    choice = selection.choose_personal(validation, shared[0], path, rank=3)
    assert choice.strengths.personal in selection.PERSONAL_PATH
    assert choice.strengths.shared == shared[0].strengths.shared
    assert choice.spread in selection.SPREADS
    assert choice.score.loss < shared[0].score.loss - 0.05
    assert choice.score.user_ids == validation.held.user_ids
    # The score is that of adaptation under the prior that was chosen.
    prior = selection.prior_of(choice.fit, validation.fit.project(choice.fit.basis), validation.fit, choice)
    again = selection._adapted(validation, choice.fit.basis, prior)
    np.testing.assert_allclose(choice.score.losses, again.losses, rtol=1e-6)


def test_refinements_are_kept_while_each_beats_those_before_it(validation, shared, path, target, monkeypatch):
    """The third gains nothing: it is tried and left out."""
    gains, tried = iter([0.1, 0.05, 0.0]), []

    def scored(validation, choice, fit, **_):
        plain = shared[0].score
        gain = next(gains) if choice.refinements else 0.0
        losses[choice.refinements] = losses.get(choice.refinements - 1, plain.losses) - gain
        tried.append(fit)
        return replace(choice, score=replace(plain, losses=losses[choice.refinements]))

    losses = {}
    monkeypatch.setattr(selection, "_with_best_prior", scored)
    found = selection.with_refinements(
        validation, Choice(Strengths(1e-3, 1e-3), 1.0, True, 1.0, None, path.leading(4, 3)), target
    )
    assert found.refinements == 2
    assert len(tried) == 4
    assert tried[0] is found.fit
    assert not any(torch.equal(one.directions, other.directions) for one, other in itertools.pairwise(tried))


def test_the_score_of_refined_directions_is_that_of_adaptation(validation, shared, path, target, monkeypatch):
    monkeypatch.setattr(selection, "_earns_its_place", lambda choice, simpler: choice.refinements <= 1)
    chosen = Choice(Strengths(1e-3, 1e-3), 1.0, True, 1.0, None, path.leading(4, 3))
    choice = selection.with_refinements(validation, chosen, target)
    assert choice.refinements == 1
    fit = selection.refined(validation.fit, choice.fit, choice, target)
    prior = selection.prior_of(fit, validation.fit.project(fit.basis), validation.fit, choice)
    np.testing.assert_allclose(choice.score.losses, selection._adapted(validation, fit.basis, prior).losses, rtol=1e-6)


def test_without_directions_there_is_nothing_to_refine(validation, shared, target):
    fit = replace(shared[1], deviations=torch.zeros(validation.fit.n_users, 0))
    choice = Choice(Strengths(1e-3, 1e-3), 1.0, True, 1.0, None)
    assert selection.refined(validation.fit, fit, choice, target) is fit
    assert selection.with_refinements(validation, choice, target) is choice
    assert selection.with_refinements(None, replace(choice, fit=fit), target).refinements == 0


def test_directions_that_vanish_when_they_are_refined_are_not(validation, shared, path, target, monkeypatch):
    nothing = replace(shared[1], deviations=torch.zeros(validation.fit.n_users, 0))
    monkeypatch.setattr(selection, "refine", lambda *arguments: nothing)
    chosen = Choice(Strengths(1e-3, 1e-3), 1.0, True, 1.0, None, path.leading(4, 3))
    assert selection.with_refinements(validation, chosen, target).refinements == 0


def test_penalties_too_strong_for_any_deviation_do_not_end_the_search(validation, shared, monkeypatch):
    monkeypatch.setattr(selection, "PERSONAL_PATH", (1e5, 1e4, 1e3, 1e-2, 1e-3))
    path = selection.PersonalPath(validation.fit, shared[1], 3)
    assert selection.choose_personal(validation, shared[0], path, rank=3).strengths.personal in (1e-2, 1e-3)


def test_a_personal_choice_is_never_worse_than_the_shared_direction():
    data = plant(users=10, pairs=16, dimension=6, personal=0, noise=1.0, prompts=200).data
    validation = Validation.cut(data, 0)
    scale = regularized.feature_scale(validation.fit)
    parts = {name: getattr(validation, name).with_scale(scale) for name in ("fit", "shots", "held")}
    validation = replace(validation, **parts)
    choice, fit = selection.choose_shared(validation, torch.zeros(6))
    path = selection.PersonalPath(validation.fit, fit, 5)
    for rank in (2, 3, 5):
        assert selection.choose_personal(validation, choice, path, rank).score.loss <= choice.score.loss


def test_without_validation_the_shared_strength_falls_back(target):
    choice, fit = selection.choose_shared(None, target)
    assert (choice.strengths, choice.score, fit) == (Strengths(selection.FALLBACK.shared), None, None)


def test_a_path_ends_when_losses_stay_clearly_worse(validation, target, monkeypatch):
    """Strong to weak: once the best is passed for good, the rest of the path costs nothing."""
    tried = []
    losses = iter([0.7, 0.5, 0.6, 0.5005, 0.6, 0.6, 0.1])

    def fit_shared(pairs, strength, target, start):
        tried.append(strength)
        return Fit(torch.ones(len(target)), torch.zeros(0, len(target)), torch.zeros(pairs.n_users, 0), 1)

    def score(self, margins, temperature):
        return replace(scored, losses=np.full(2, next(losses)))

    scored = validation.score(torch.zeros(len(validation.held)), 1.0)
    monkeypatch.setattr(selection, "fit_shared", fit_shared)
    monkeypatch.setattr(Validation, "score", score)
    monkeypatch.setattr(selection, "score_one_direction", lambda *_: scored)
    choice, _ = selection.choose_shared(validation, target, path=[7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    assert tried == [7.0, 6.0, 5.0, 4.0, 3.0, 2.0]
    assert choice.strengths.shared == 6.0


def test_log_odds():
    fit = Fit(torch.tensor([2.0, 4.0]), torch.eye(2)[:1], torch.ones(3, 1), 1)
    found = selection.at_temperature(fit, 4.0)
    assert found.shared.tolist() == [0.5, 1.0]
    assert found.directions is fit.directions


def test_choices_compare_by_loss():
    assert selection._loss(Choice(Strengths(1.0), 1.0, False, 1.0, None)) == float("inf")
