"""Choice of the default recipe's settings on the validation split (comparisons held out of the training data).

Penalty strengths are tried from strong to weak, each fit starting from the previous one. The temperature, the prior
over weights and the number of basis refinements (refits under the posterior of the weights) are chosen on the same
split.

The first weight of a user belongs to the direction that all users share. It is called the user's reliability, because
it measures how consistently the user follows that direction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from lorerm.model.prior import WeightPrior
from lorerm.threads import torch_on_one_thread
from lorerm.training.mixture_prior import Likelihoods, fit_mixture, scale_mixture
from lorerm.training.refinement import refine
from lorerm.training.regularized import MAX_STEPS, Fit, Strengths, fit_personal, fit_shared, spectral_start
from lorerm.training.validation import Score, Validation, best_temperature, improves_by_one_se

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lorerm.training.pairs import PackedPairs

# Penalty strengths, from strong to weak in half decades. The weakest are at least half a decade below the strengths
# that were best on any data set.
SHARED_PATH = tuple(10.0 ** (-half / 2) for half in range(1, 15))
PERSONAL_PATH = tuple(10.0 ** (-half / 2) for half in range(3, 13))
PRIOR_SCALES = (0.3, 1.0, 3.0)
# Standard deviation of the reliability between users if it is not learnt; its mean is 1.
RELIABILITY_SD = 0.5
# The search ends after `_PATIENCE` successive strengths whose loss is more than `_CLEARLY_WORSE` times the best loss.
# One strength is not enough, because differences between strong penalties are tiny.
_PATIENCE, _CLEARLY_WORSE = 2, 1.002
# Number of users, evenly spaced, to whom each candidate prior is fitted.
_USERS_FOR_COMPARISON = 400
# Number of users, evenly spaced, to whom the final prior is fitted. Fitting it to millions of users would take
# gigabytes and half of the training time.
_USERS_FOR_PRIOR = 20_000
# Largest number of refinements. The first one brings most of the gain.
_MAX_REFINEMENTS = 3
# Ranks up to this one share one `PersonalPath`; each larger rank has its own.
COMMON_RANK = 5
# Strengths without a validation split: strong enough not to overfit much, weak enough to learn something.
FALLBACK = Strengths(shared=1e-3, personal=1e-3)


@dataclass(frozen=True, eq=False)
class Choice:
    """Settings chosen for one rank, with their validation score."""

    strengths: Strengths
    """the penalty strengths"""
    prior_scale: float = 1.0
    """factor on the between-user covariance of the prior: weights vary less on new comparisons than on those to which
    the directions and the prior were fitted"""
    reliability_learnt: bool = False
    """whether the mixture also describes the reliability (the first weight), which otherwise has a fixed mean and
    variance"""
    temperature: float = 1.0
    """the number by which the shared direction is divided to make rewards log-odds"""
    score: Score | None = None
    """the score on held-out comparisons; None without a validation split"""
    fit: Fit | None = None
    """the fit with deviations to the train part of the validation split, before refinements; None without deviations"""
    refinements: int = 0
    """number of basis refinements"""

    @property
    def loss(self) -> float:
        """The mean loss over users; infinite without a score."""
        return float("inf") if self.score is None else self.score.loss


def initial_prior(fit: Fit) -> WeightPrior:
    """Return the Gaussian prior with the mean and covariance of the fit's deviations.

    The first weight is the reliability, with mean 1 and standard deviation `RELIABILITY_SD`; without deviations it is 1
    for every user.
    """
    rank = 1 + fit.deviations.shape[1]
    mean, covariance = torch.ones(rank, dtype=torch.float64), torch.zeros(rank, rank, dtype=torch.float64)
    if rank == 1:
        return WeightPrior(mean, covariance)
    covariance[0, 0] = RELIABILITY_SD**2
    deviations = fit.deviations.double()
    mean[1:] = deviations.mean(dim=0)
    centred = deviations - mean[1:]
    covariance[1:, 1:] = centred.t() @ centred / len(centred)
    return WeightPrior(mean, covariance)


def fit_prior(fit: Fit, projected: torch.Tensor, pairs: PackedPairs, choice: Choice) -> WeightPrior:
    """Fit the mixture prior to the users of `pairs`, given the comparisons' projections [n, K] on the fit's basis."""
    initial = initial_prior(fit)
    if not len(fit.directions):
        return initial
    likelihoods = Likelihoods.around(*_thinned(projected, pairs), initial)
    mixture = fit_mixture(likelihoods, initial, reliability_learnt=choice.reliability_learnt)
    scaled = scale_mixture(mixture, choice.prior_scale, reliability_learnt=choice.reliability_learnt)
    return WeightPrior.from_mixture(scaled)


def _thinned(projected: torch.Tensor, pairs: PackedPairs) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
    """Return the first four arguments of `solve` for at most `_USERS_FOR_PRIOR` users, evenly spaced."""
    if pairs.n_users <= _USERS_FOR_PRIOR:
        return projected, pairs.user, pairs.count, pairs.n_users
    # For each user, the new index; -1 for users that are left out.
    index = torch.full((pairs.n_users,), -1)
    index[torch.linspace(0, pairs.n_users - 1, _USERS_FOR_PRIOR).round().long()] = torch.arange(_USERS_FOR_PRIOR)
    user = index[pairs.user]
    kept = user >= 0
    return projected[kept], user[kept], pairs.count[kept], _USERS_FOR_PRIOR


def choose_shared(
    validation: Validation | None, target: torch.Tensor, path: Iterable[float] = SHARED_PATH
) -> tuple[Choice, Fit | None]:
    """Choose the penalty strength and the temperature of the shared direction.

    Also return the fit to the train part of the validation split, divided by the temperature; None without a validation
    split.
    """
    choice, best = Choice(Strengths(FALLBACK.shared)), None
    if validation is None:
        return choice, best
    fit, worse = None, 0
    for strength in path:
        fit = fit_shared(validation.train, strength, target, None if fit is None else fit.shared)
        margins = validation.held_out.project(fit.basis)[:, 0]
        temperature = best_temperature(margins, validation.held_out.weight)
        score = validation.score(margins, temperature)
        candidate = Choice(Strengths(strength), temperature=temperature, score=score)
        worse = worse + 1 if candidate.loss > _CLEARLY_WORSE * choice.loss else 0
        if candidate.loss < choice.loss:
            choice, best = candidate, replace(fit, shared=fit.shared / temperature)
        if worse == _PATIENCE:
            break
    if best is None:
        return choice, best
    return replace(choice, score=score_direction(validation, best.basis)), best


@torch_on_one_thread()
def score_direction(validation: Validation, direction: torch.Tensor) -> Score:
    """Score one direction [1, D], whose rewards are log-odds, for all users; losses use each user's own reliability.

    This is the baseline that deviations must improve on. If it used the same reliability for all users, deviations
    would also be credited for fitting each user's reliability, which changes the likelihood but no ranking.
    """
    prior = WeightPrior(torch.ones(1), torch.full((1, 1), RELIABILITY_SD**2))
    fitted = [pairs.posterior(pairs.project(direction), prior).weights.float() for pairs in validation.fitted]
    adapted = validation.score(validation.margins(direction, torch.cat(fitted)), 1.0)
    return replace(validation.score(validation.held_out.project(direction)[:, 0], 1.0), losses=adapted.losses)


class PersonalPath:
    """Fits of the deviations at the strengths in `PERSONAL_PATH`, each computed when first used, from the previous fit.

    `pairs` have scaled features; the rewards of `shared` are log-odds. `rank` is the largest rank that uses the fits;
    smaller ranks use their leading directions.
    """

    def __init__(self, pairs: PackedPairs, shared: Fit, rank: int) -> None:
        self._pairs, self._start = pairs, spectral_start(pairs, shared, rank)
        self._fits: list[Fit] = []

    def leading(self, index: int, rank: int) -> Fit:
        """Return the fit at `PERSONAL_PATH[index]`, reduced to the `rank` - 1 directions of largest variance."""
        for strength in PERSONAL_PATH[len(self._fits) : index + 1]:
            before = self._fits[-1] if self._fits else self._start
            # If a strong penalty removed directions, start anew: deviations of 0 are a stationary point, so that these
            # directions would not return at a weaker penalty.
            begin = before if len(before.directions) == len(self._start.directions) else self._start
            self._fits.append(fit_personal(self._pairs, strength, begin))
        fit = self._fits[index]
        return replace(fit, directions=fit.directions[: rank - 1], deviations=fit.deviations[:, : rank - 1])


def choose_personal(validation: Validation, shared: Choice, path: PersonalPath, rank: int) -> Choice:
    """Choose penalty strength and prior of the deviations for one rank.

    Return `shared` if deviations do not improve on it by more than one standard error. A rank is scored with the
    leading directions of `path`: to refit them without the other directions would take several times as long and hardly
    change them.
    """
    best, worse = shared, 0
    for index, strength in enumerate(PERSONAL_PATH):
        fit = path.leading(index, rank)
        if not len(fit.directions):  # the penalty is too strong for any deviation
            continue
        strengths = Strengths(shared.strengths.shared, strength)
        choice = Choice(strengths, temperature=shared.temperature, fit=fit)
        candidate = _choose_prior(validation, choice, fit, thorough=False)
        worse = worse + 1 if candidate.loss > _CLEARLY_WORSE * best.loss else 0
        if candidate.loss < best.loss:
            best = candidate
        if worse == _PATIENCE:
            break
    return best if _improves(best, shared) else shared


@torch_on_one_thread()
def refine_once(pairs: PackedPairs, fit: Fit, choice: Choice, target: torch.Tensor, steps: int = MAX_STEPS) -> Fit:
    """Return the fit after one basis refinement; its prior is an unscaled mixture that includes the reliability."""
    if not len(fit.directions):
        return fit
    projected = pairs.project(fit.basis)
    prior = fit_prior(fit, projected, pairs, replace(choice, prior_scale=1.0, reliability_learnt=True))
    return refine(pairs, fit, prior, pairs.posterior(projected, prior), choice.strengths, target, steps)


def choose_refinements(validation: Validation | None, choice: Choice, target: torch.Tensor) -> Choice:
    """Choose the number of basis refinements.

    A refinement is added as long as it improves the loss by more than one standard error.
    """
    fit = choice.fit
    if validation is None or fit is None:
        return choice
    choice = _choose_prior(validation, replace(choice, score=None), fit, thorough=True)
    while choice.refinements < _MAX_REFINEMENTS:
        fit = refine_once(validation.train, fit, choice, target)
        if not len(fit.directions):
            break
        once_more = replace(choice, score=None, refinements=choice.refinements + 1)
        candidate = _choose_prior(validation, once_more, fit, thorough=True)
        if not _improves(candidate, choice):
            break
        choice = candidate
    return choice


@torch_on_one_thread()
def _choose_prior(validation: Validation, choice: Choice, fit: Fit, *, thorough: bool) -> Choice:
    """Return the choice with the prior under which adapted weights have the smallest loss on held-out comparisons.

    Priors are compared with quadratic approximations of the users' likelihoods, which saves a pass over the comparisons
    for each prior. The best prior is then scored with exact posteriors. If `choice` already has a score and no prior
    improves on it, it is returned unchanged.
    """
    initial, held_out = initial_prior(fit), validation.held_out
    known = [(pairs, pairs.project(fit.basis)) for pairs in validation.fitted]
    projected_held_out = held_out.project(fit.basis)
    likelihoods = [
        Likelihoods.around(projected, pairs.user, pairs.count, pairs.n_users, initial) for pairs, projected in known
    ]

    def score(weights: Iterable[torch.Tensor]) -> Score:
        of_users = torch.cat(list(weights)).float()[validation.row]
        return validation.score((projected_held_out * of_users[held_out.user]).sum(dim=1), 1.0)

    best, best_mixture = choice, None
    for learnt in (False, True):
        likelihood = likelihoods[0].thinned(_USERS_FOR_COMPARISON)
        mixture = fit_mixture(likelihood, initial, reliability_learnt=learnt, thorough=thorough)
        for prior_scale in PRIOR_SCALES:
            scaled = scale_mixture(mixture, prior_scale, reliability_learnt=learnt)
            scored = score(one.weights_under(scaled) for one in likelihoods)
            candidate = replace(choice, prior_scale=prior_scale, reliability_learnt=learnt, score=scored)
            if candidate.loss < best.loss:
                best, best_mixture = candidate, scaled
    if best_mixture is None:
        return choice
    prior = WeightPrior.from_mixture(best_mixture)
    return replace(best, score=score(pairs.posterior(projected, prior).weights for pairs, projected in known))


def start_from(found: Fit, pairs: PackedPairs, shared: Fit) -> Fit:
    """Return a start for a fit to more comparisons: the directions of `found`, and posterior modes as deviations.

    From another start, the fit at the same strength could end in another local minimum than the validated one.
    """
    basis = torch.cat([shared.shared[None], found.directions])
    posterior = pairs.posterior(pairs.project(basis), initial_prior(found))
    return replace(shared, directions=found.directions, deviations=posterior.weights[:, 1:].float())


def _improves(choice: Choice, simpler: Choice) -> bool:
    """Return whether a choice improves on a simpler one by more than one standard error; False without scores."""
    if choice.score is None or simpler.score is None:
        return False
    return improves_by_one_se(choice.score.losses, simpler.score.losses)
