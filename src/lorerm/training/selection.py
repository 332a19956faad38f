"""Strengths, temperature and the prior over weights, chosen on validation pairs along a warm-started path."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from lorerm.model.posterior import solve
from lorerm.model.prior import WeightPrior
from lorerm.threads import torch_on_one_thread
from lorerm.training.mixture_prior import Likelihoods, find_kinds, spread_out
from lorerm.training.refinement import refine
from lorerm.training.regularized import MAX_STEPS, Fit, Strengths, fit_personal, fit_shared, spectral_start
from lorerm.training.validation import Score, Validation, best_temperature

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lorerm.training.pairs import PackedPairs

SHARED_PATH = tuple(10.0 ** (-half / 2) for half in range(1, 15))
PERSONAL_PATH = tuple(10.0 ** (-half / 2) for half in range(3, 13))
SPREADS = (0.3, 1.0, 3.0)
# Standard deviation between users of how consistently they choose, beside a mean of 1: some are careless.
CONSISTENCY = 0.5
# How many values in a row may be clearly worse than the best before the rest of a path, weaker still, is left out.
# At the strong end nothing is learnt yet, and tiny differences say nothing.
_PATIENCE, _CLEARLY_WORSE = 2, 1.002
# Some of many users show the kinds of people well enough to compare strengths and priors by.
_MOST_USERS = 400
# Of more, these show the kinds of people: all would take gigabytes, and half of a training's time.
_MANY_USERS = 20_000
# Most of what refining the directions gains comes with the first time.
_REFINEMENTS = 3
# Ranks up to this one share their fits along the path; a larger one has a path of its own.
COMMON_RANK = 5
# Without validation pairs: strong enough never to overfit much, weak enough to learn something.
FALLBACK = Strengths(shared=1e-3, personal=1e-3)


@dataclass(frozen=True, eq=False)
class Choice:
    """What validation chose for one rank.

    Parameters
    ----------
    strengths
        For the full training data.
    spread
        What the variance between people is multiplied by: on pairs that the directions were fitted to, people seem to
        differ more than they do.
    consistency_learnt
        Whether the kinds of people also differ in how consistently they follow the shared direction.
    temperature
        What the shared direction is divided by, so that its rewards are log-odds.
    score
        On the held pairs; None where there were none.
    fit
        The deviations on the validation's pairs to fit, before refinements; None where there are none.
    refinements
        How many times the directions are refined.
    """

    strengths: Strengths
    spread: float
    consistency_learnt: bool
    temperature: float
    score: Score | None
    fit: Fit | None = None
    refinements: int = 0


def rough_prior(fit: Fit) -> WeightPrior:
    """Return the Gaussian over weights that the fit's own deviations suggest.

    The first weight is how consistently a user chooses; without deviations it is 1 for everybody.
    """
    rank = 1 + fit.deviations.shape[1]
    mean, covariance = torch.ones(rank, dtype=torch.float64), torch.zeros(rank, rank, dtype=torch.float64)
    if rank == 1:
        return WeightPrior(mean, covariance)
    covariance[0, 0] = CONSISTENCY**2
    deviations = fit.deviations.double()
    mean[1:] = deviations.mean(dim=0)
    centred = deviations - mean[1:]
    covariance[1:, 1:] = centred.t() @ centred / len(centred)
    return WeightPrior(mean, covariance)


def prior_of(fit: Fit, projected: torch.Tensor, pairs: PackedPairs, choice: Choice) -> WeightPrior:
    """Return the prior over weights that the users of `pairs` suggest; `projected` [n, K] is on the fit's basis."""
    rough = rough_prior(fit)
    if not len(fit.directions):
        return rough
    likelihoods = Likelihoods.around(*_of_some_users(projected, pairs), rough)
    kinds = find_kinds(likelihoods, rough, consistency_learnt=choice.consistency_learnt)
    return WeightPrior.from_mixture(spread_out(kinds, choice.spread, consistency_learnt=choice.consistency_learnt))


def _of_some_users(projected: torch.Tensor, pairs: PackedPairs) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
    """Return what `solve` takes, of at most `_MANY_USERS`, evenly spaced."""
    if pairs.n_users <= _MANY_USERS:
        return projected, pairs.user, pairs.count, pairs.n_users
    place = torch.full((pairs.n_users,), -1)
    place[torch.linspace(0, pairs.n_users - 1, _MANY_USERS).round().long()] = torch.arange(_MANY_USERS)
    user = place[pairs.user]
    kept = user >= 0
    return projected[kept], user[kept], pairs.count[kept], _MANY_USERS


def simplex_concentration(weights: torch.Tensor) -> float:
    """Return the concentration of the Dirichlet with the variance of the rows of `weights` [N, K], at least one nat."""
    weights = weights.double()
    mean = weights.mean(dim=0)
    variance = weights.var(dim=0, unbiased=False).sum().clamp_min(1e-12)
    return max(1.0, float((mean * (1 - mean)).sum() / variance) - 1.0)


def choose_shared(
    validation: Validation | None, target: torch.Tensor, path: Iterable[float] = SHARED_PATH
) -> tuple[Choice, Fit | None]:
    """Choose the shared direction's strength and temperature; also return the fit on the inner pairs, in log-odds."""
    choice, best = Choice(Strengths(FALLBACK.shared), 1.0, False, 1.0, None), None
    if validation is None:
        return choice, best
    fit, worse = None, 0
    for strength in path:
        fit = fit_shared(validation.fit, strength, target, None if fit is None else fit.shared)
        margins = validation.held.project(fit.basis)[:, 0]
        temperature = best_temperature(margins, validation.held.weight)
        candidate = Choice(Strengths(strength), 1.0, False, temperature, validation.score(margins, temperature))
        worse = worse + 1 if _loss(candidate) > _CLEARLY_WORSE * _loss(choice) else 0
        if _loss(candidate) < _loss(choice):
            choice, best = candidate, at_temperature(fit, temperature)
        if worse == _PATIENCE:
            break
    if best is None:
        return choice, best
    return replace(choice, score=score_one_direction(validation, best.basis)), best


def score_one_direction(validation: Validation, direction: torch.Tensor) -> Score:
    """Score one direction [1, D] in log-odds for everybody: the accuracy as it is, the loss at each user's consistency.

    This is what deviations have to beat. With one consistency for all they would be credited for telling who is
    careless, which changes the likelihood and nobody's ranking.
    """
    plain = validation.score(validation.held.project(direction)[:, 0], 1.0)
    consistency = WeightPrior(torch.ones(1), torch.full((1, 1), CONSISTENCY**2))
    return replace(plain, losses=_adapted(validation, direction, consistency).losses)


class PersonalPath:
    """Fits of deviations from a strong penalty to a weak one, each from the one before, for all ranks up to one.

    They are made when they are first asked for, and kept.

    Parameters
    ----------
    pairs
        On the scaled features.
    shared
        The shared direction, in log-odds.
    rank
        The largest rank that the fits serve: the others take their leading directions.
    """

    def __init__(self, pairs: PackedPairs, shared: Fit, rank: int) -> None:
        self._pairs, self._start = pairs, spectral_start(pairs, shared, rank)
        self._fits: list[Fit] = []

    def leading(self, place: int, rank: int) -> Fit:
        """Return the fit at `PERSONAL_PATH[place]` with the rank - 1 directions along which people differ most."""
        for strength in PERSONAL_PATH[len(self._fits) : place + 1]:
            before = self._fits[-1] if self._fits else self._start
            # A direction that a strong penalty removed could not come back by itself where the penalty is weaker.
            begin = before if len(before.directions) == len(self._start.directions) else self._start
            self._fits.append(fit_personal(self._pairs, strength, begin))
        fit = self._fits[place]
        return replace(fit, directions=fit.directions[: rank - 1], deviations=fit.deviations[:, : rank - 1])


def choose_personal(validation: Validation, shared: Choice, path: PersonalPath, rank: int) -> Choice:
    """Choose the deviations' strength and spread for one rank, or the shared direction alone where they gain little.

    `path` is on the validation's pairs to fit. Its leading directions are scored as they are: fitted again without the
    others they would hardly change, at several times the cost.
    """
    best = shared
    worse = 0
    for place, strength in enumerate(PERSONAL_PATH):
        fit = path.leading(place, rank)
        if not len(fit.directions):  # so strong a penalty leaves the shared direction alone
            continue
        choice = Choice(Strengths(shared.strengths.shared, strength), 1.0, False, shared.temperature, None, fit)
        candidate = _with_best_prior(validation, choice, fit, thorough=False)
        worse = worse + 1 if _loss(candidate) > _CLEARLY_WORSE * _loss(best) else 0
        if _loss(candidate) < _loss(best):
            best = candidate
        if worse == _PATIENCE:
            break
    return best if _earns_its_place(best, shared) else shared


@torch_on_one_thread()
def refined(pairs: PackedPairs, fit: Fit, choice: Choice, target: torch.Tensor, steps: int = MAX_STEPS) -> Fit:
    """Return the fit with its directions refined, under the kinds of people as they are found, not spread out."""
    if not len(fit.directions):
        return fit
    projected = pairs.project(fit.basis)
    prior = prior_of(fit, projected, pairs, replace(choice, spread=1.0, consistency_learnt=True))
    posterior = solve(projected, pairs.user, pairs.count, pairs.n_users, prior)
    return refine(pairs, fit, prior, posterior, choice.strengths, target, steps)


def with_refinements(validation: Validation | None, choice: Choice, target: torch.Tensor) -> Choice:
    """Return a choice with as many refinements as earn their place, each beside those before it."""
    fit = choice.fit
    if validation is None or fit is None:
        return choice
    choice = _with_best_prior(validation, replace(choice, score=None), fit, thorough=True)
    while choice.refinements < _REFINEMENTS:
        fit = refined(validation.fit, fit, choice, target)
        if not len(fit.directions):
            break
        once_more = replace(choice, score=None, refinements=choice.refinements + 1)
        candidate = _with_best_prior(validation, once_more, fit, thorough=True)
        if not _earns_its_place(candidate, choice):
            break
        choice = candidate
    return choice


@torch_on_one_thread()
def _with_best_prior(validation: Validation, choice: Choice, fit: Fit, *, thorough: bool) -> Choice:
    """Return a choice with the prior under which adaptation predicts the held pairs best.

    Priors are compared by users' likelihoods as quadratics, without a pass over the pairs for each; the best is then
    scored as adaptation would do it.
    """
    rough, held = rough_prior(fit), validation.held
    known = [(pairs, pairs.project(fit.basis)) for pairs in (validation.fit, validation.shots) if pairs is not None]
    of_held = held.project(fit.basis)
    likelihoods = [
        Likelihoods.around(projected, pairs.user, pairs.count, pairs.n_users, rough) for pairs, projected in known
    ]

    def score(weights: Iterable[torch.Tensor]) -> Score:
        of_users = torch.cat(list(weights)).float()[validation.place]
        return validation.score((of_held * of_users[held.user]).sum(dim=1), 1.0)

    best, best_mixture = choice, None
    for learnt in (False, True):
        kinds = find_kinds(likelihoods[0].thinned(_MOST_USERS), rough, consistency_learnt=learnt, thorough=thorough)
        for spread in SPREADS:
            mixture = spread_out(kinds, spread, consistency_learnt=learnt)
            scored = score(one.weights_under(mixture) for one in likelihoods)
            candidate = replace(choice, spread=spread, consistency_learnt=learnt, score=scored)
            if _loss(candidate) < _loss(best):
                best, best_mixture = candidate, mixture
    if best_mixture is None:
        return choice
    prior = WeightPrior.from_mixture(best_mixture)
    exact = (solve(projected, pairs.user, pairs.count, pairs.n_users, prior).weights for pairs, projected in known)
    return replace(best, score=score(exact))


def start_from(found: Fit, pairs: PackedPairs, shared: Fit) -> Fit:
    """Return where to start on more pairs: along the same directions, with the deviations that adaptation gives.

    From elsewhere the same strength can end in another minimum than the one that selection saw.
    """
    basis = torch.cat([shared.shared[None], found.directions])
    posterior = solve(pairs.project(basis), pairs.user, pairs.count, pairs.n_users, rough_prior(found))
    return replace(shared, directions=found.directions, deviations=posterior.weights[:, 1:].float())


def at_temperature(fit: Fit, temperature: float) -> Fit:
    """Return the fit with the shared direction in log-odds."""
    return replace(fit, shared=fit.shared / temperature)


def _earns_its_place(choice: Choice, simpler: Choice) -> bool:
    """Tell whether a choice beats a simpler one by a standard error over users.

    What gains next to nothing on validation pairs can lose a lot elsewhere, as a weak penalty does.
    """
    if choice.score is None or simpler.score is None:
        return False
    gain = simpler.score.losses - choice.score.losses
    return len(gain) > 1 and bool(gain.mean() > gain.std(ddof=1) / len(gain) ** 0.5)


def _loss(choice: Choice) -> float:
    return choice.score.loss if choice.score is not None else float("inf")


@torch_on_one_thread()
def _adapted(validation: Validation, basis: torch.Tensor, prior: WeightPrior) -> Score:
    """Fit everybody's weights as adaptation would, and score the held pairs."""
    weights = []
    for pairs in (validation.fit, validation.shots):
        if pairs is not None:
            projected = pairs.project(basis)
            weights.append(solve(projected, pairs.user, pairs.count, pairs.n_users, prior).weights.float())
    return validation.score(validation.margins(basis, torch.cat(weights)), 1.0)
