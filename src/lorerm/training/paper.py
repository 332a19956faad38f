"""The published algorithms (LoRe, arXiv 2504.14439), step by step as published but without the loop over users.

In this module d is the embedding of the chosen response minus that of the rejected one, V the basis [D, K] with columns
V_k, W the user weights [N, K], and v_ref the reward model's own linear head (reference head).

Random numbers are drawn in float32 from torch's global generator after `torch.manual_seed(seed)`, in the order that
each function documents. All other computations use the dtype of the packed comparisons: float32, as published, unless
they were converted. Without penalties, the loss is the sum over users of each user's mean loss in `fit_joint`, and the
mean over all comparisons in `fit_cosine`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from lorerm.model.prior import WeightPrior
from lorerm.threads import torch_on_one_thread
from lorerm.training.objective import logistic_loss, negative_log_likelihood
from lorerm.training.pairs import sum_groups
from lorerm.training.trainer import Trained, Trainer
from lorerm.training.validation import best_temperature

if TYPE_CHECKING:
    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.training.config import TrainingConfig
    from lorerm.training.pairs import PackedPairs
    from lorerm.training.trainer import Progress
    from lorerm.training.validation import Score, Validation

FitBasis = Callable[..., "PaperFit"]
"""`fit_joint` or `fit_cosine`."""

# The published temperature: P(chosen > rejected) = sigmoid(difference of rewards / 100).
TEMPERATURE = 100.0
# `fit_cosine` drops directions to which no user gives at least this weight.
SMALLEST_WEIGHT = 0.01
# The strength of the regulariser of `fit_cosine` grows linearly between these shares of the steps.
RAMP = 0.2, 0.8
# Number of steps between two reports of progress.
_PROGRESS_EVERY = 50


class PaperFit(NamedTuple):
    """Reward directions [K, D] and user weights [N, K], which are at least 0 and sum to 1 for each user (simplex)."""

    basis: torch.Tensor
    weights: torch.Tensor


class PaperTrainer(Trainer):
    """Trainer of a published recipe; the validation split serves only to compare ranks.

    `fit_basis` is `fit_joint` or `fit_cosine`, and `few_shot` is `fit_few_shot`, both as partial functions with all
    settings filled in.
    """

    def __init__(
        self,
        data: EmbeddedPreferences,
        config: TrainingConfig,
        reference: torch.Tensor | None,
        fit_basis: FitBasis,
        few_shot: Callable[..., torch.Tensor],
        *,
        differences: bool | None = None,
    ) -> None:
        super().__init__(data, config, reference, differences=differences)
        self._fit_basis, self._few_shot = fit_basis, few_shot

    def _fit(self, rank: int, progress: Progress | None) -> Trained:
        fit = self._optimise(self.pairs, rank, progress)
        mean = fit.weights.double().mean(dim=0)
        if len(mean) == 1:
            prior = WeightPrior.fixed(mean)
        else:
            # If directions were dropped, rows sum to less than 1; the prior is on the simplex of the remaining ones.
            prior = WeightPrior(mean / mean.sum(), concentration=simplex_concentration(fit.weights))
        return Trained(fit.basis.t().contiguous(), fit.weights, prior, TEMPERATURE, self.validate(rank))

    def _optimise(self, pairs: PackedPairs, rank: int, progress: Progress | None = None) -> PaperFit:
        torch.manual_seed(self.config.seed)
        return self._fit_basis(pairs, rank, progress=progress)

    def _score(self, rank: int, validation: Validation) -> Score:
        fit = self._optimise(validation.train, rank)
        weights = [fit.weights]
        if validation.few_shot is not None:
            pairs = validation.few_shot
            torch.manual_seed(self.config.seed)
            weights.append(self._few_shot(pairs.project(fit.basis), pairs.user, pairs.weight, pairs.n_users))
        margins = validation.margins(fit.basis, torch.cat(weights))
        # Score at the best temperature, because the published one gives over-confident probabilities.
        return validation.score(margins, best_temperature(margins, validation.held_out.weight))


@torch_on_one_thread()
def fit_joint(
    pairs: PackedPairs,
    rank: int,
    *,
    steps: int,
    learning_rate: float,
    alpha: float = 0.0,
    reference: torch.Tensor | None = None,
    progress: Progress | None = None,
) -> PaperFit:
    """Fit basis and weights with one Adam optimiser for both (the published LoRe).

    `alpha` is the strength of the penalty alpha * sum_k |V_k - v_ref|^2. The random start draws randn(N, K) for the
    logits of W, then randn(D, K) for V.
    """
    logits = torch.randn(pairs.n_users, rank).to(pairs.matrix.dtype)
    basis = torch.randn(pairs.matrix.shape[1], rank).t().contiguous().to(pairs.matrix.dtype)
    optimiser = torch.optim.Adam([logits, basis], lr=learning_rate)
    for step in range(steps):
        weights = logits.softmax(dim=1)
        data = negative_log_likelihood(pairs, basis, weights, pairs.weight, TEMPERATURE)
        logits.grad, basis.grad = _through_softmax(data.weights, weights), data.basis
        if alpha > 0 and reference is not None:
            basis.grad = basis.grad + 2 * alpha * (basis - reference)
        optimiser.step()
        _report(progress, step, steps)
    return PaperFit(basis, logits.softmax(dim=1))


@torch_on_one_thread()
def fit_cosine(
    pairs: PackedPairs,
    rank: int,
    *,
    steps: int,
    learning_rate: float,
    alpha: float,
    reference: torch.Tensor,
    progress: Progress | None = None,
) -> PaperFit:
    """Fit weights and basis with two Adam optimisers in alternation (the published LoRe_regularized).

    The penalty on the basis is alpha_t * mean_k (1 - cos(V_k, v_ref)), where alpha_t grows with the step t (`ramp`).
    The random start draws rand(N, K) for the logits of W, then randn(D, K) for V. At the end, directions whose largest
    weight over users is below 0.01 are dropped, so that fewer than `rank` can be left. The other weights are not
    renormalised.
    """
    logits = torch.rand(pairs.n_users, rank).to(pairs.matrix.dtype)
    basis = torch.randn(pairs.matrix.shape[1], rank).t().contiguous().to(pairs.matrix.dtype)
    of_weights, of_basis = torch.optim.Adam([logits], lr=learning_rate), torch.optim.Adam([basis], lr=learning_rate)
    pair_weight = (pairs.count / pairs.count.sum()).to(pairs.matrix.dtype)
    for step in range(steps):
        # The step of the weights does not change V, so that one product d . V serves both steps.
        projected = pairs.project(basis)
        weights = logits.softmax(dim=1)
        _, slope = logistic_loss(projected, weights.index_select(0, pairs.user), pair_weight, TEMPERATURE)
        logits.grad = _through_softmax(pairs.sum_by_user(projected * slope[:, None]), weights)
        of_weights.step()
        of_pair = logits.softmax(dim=1).index_select(0, pairs.user)
        _, slope = logistic_loss(projected, of_pair, pair_weight, TEMPERATURE)
        basis.grad = pairs.pull_back(of_pair * slope[:, None])
        strength = alpha * ramp(step, steps)
        if strength > 0:
            basis.grad = basis.grad + _cosine_gradient(basis, reference, strength)
        of_basis.step()
        _report(progress, step, steps)
    weights = logits.softmax(dim=1)
    kept = weights.max(dim=0).values >= SMALLEST_WEIGHT
    return PaperFit(basis[kept], weights[:, kept])


@torch_on_one_thread()
def fit_few_shot(
    projected: torch.Tensor,
    user: torch.Tensor,
    weight: torch.Tensor,
    n_users: int,
    *,
    steps: int,
    learning_rate: float,
) -> torch.Tensor:
    """Fit weights [N, K] of new users on the simplex with one Adam optimiser, given the basis.

    `projected` [n, K] and `user` [n] are as in `lorerm.model.posterior.solve`, with at least one comparison of each
    user. The `weight` [n] of each user's comparisons sums to 1. The random start draws randn(K) for the logits of each
    user, one user after the other.
    """
    # Each direction is made contiguous in memory: otherwise sums over few directions are slow.
    projected = projected.t().contiguous().t()
    logits = torch.stack([torch.randn(projected.shape[1]) for _ in range(n_users)]).to(projected.dtype)
    optimiser = torch.optim.Adam([logits], lr=learning_rate)
    first = np.searchsorted(user.numpy(), np.arange(n_users))
    for _ in range(steps):
        weights = logits.softmax(dim=1)
        _, slope = logistic_loss(projected, weights.index_select(0, user), weight, TEMPERATURE)
        logits.grad = _through_softmax(sum_groups(projected * slope[:, None], first), weights)
        optimiser.step()
    return logits.softmax(dim=1)


def ramp(step: int, steps: int) -> float:
    """Return the factor on alpha at a step: 0 until 20% of the steps, then growing linearly to 1 at 80%."""
    start, full = (int(share * steps) for share in RAMP)
    if step < start:
        return 0.0
    return 1.0 if step >= full else (step - start) / (full - start)


def simplex_concentration(weights: torch.Tensor) -> float:
    """Return the concentration (at least 1) of the Dirichlet distribution with the variance of the rows of `weights`.

    With mean m and concentration c, its total variance is sum_k m_k (1 - m_k) / (c + 1).
    """
    weights = weights.double()
    mean = weights.mean(dim=0)
    variance = weights.var(dim=0, unbiased=False).sum().clamp_min(1e-12)
    return max(1.0, float((mean * (1 - mean)).sum() / variance) - 1.0)


def _through_softmax(gradient: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the gradient with respect to the logits, given that with respect to `weights` = softmax(logits)."""
    return weights * (gradient - (gradient * weights).sum(dim=1, keepdim=True))


def _cosine_gradient(basis: torch.Tensor, reference: torch.Tensor, strength: float) -> torch.Tensor:
    """Return the gradient of strength * mean_k (1 - cos(V_k, reference)) with respect to `basis` [K, D].

    It is computed by autograd on [D, K], as published, because rounding matters: once the directions are parallel to
    the reference head, the gradient consists of rounding errors, which Adam scales up to full steps. An explicit
    formula would round differently.
    """
    with torch.enable_grad():
        columns = basis.t().contiguous().requires_grad_()
        distance = strength * (1 - torch.nn.functional.cosine_similarity(columns, reference[:, None], dim=0)).mean()
        (gradient,) = torch.autograd.grad(distance, columns)
    return gradient.t()


def _report(progress: Progress | None, step: int, steps: int) -> None:
    if progress is not None and ((step + 1) % _PROGRESS_EVERY == 0 or step + 1 == steps):
        progress(step + 1, steps)
