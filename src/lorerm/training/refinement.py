"""Basis refinement: refit all directions under the posterior of the weights (one variational EM step).

`regularized.fit_personal` treats its estimate of each user's weights as exact. Where users have few comparisons the
estimates are mostly noise, and the directions are fitted to it. Here the expected loss under the posterior of the
weights is minimised. For a comparison with projections z of a user whose weights have the posterior mean m and second
moments M = E[w w'],

    E[-log sigmoid(z . w)]  <=  log(2 cosh(c / 2)) - z . m / 2,    c^2 = z . M z

(Jaakkola & Jordan 2000, doi 10.1023/A:1008932416310). The bound is convex in the basis, and equal to the loss where the
weights are certain. All directions are refitted, the shared one too, under the penalties of `regularized`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lorerm.training.regularized import MAX_STEPS, Fit, likelihood_weight, minimise, principal

if TYPE_CHECKING:
    from lorerm.model.posterior import Posterior
    from lorerm.model.prior import WeightPrior
    from lorerm.training.pairs import PackedPairs
    from lorerm.training.regularized import Strengths

# The relative decrease of the loss at which L-BFGS stops.
_TOLERANCE = 1e-5
# Eigenvalues of the between-user covariance below this share of the largest one count as 0.
_NO_VARIANCE = 1e-4
# Comparisons whose second moments are in memory at once.
_BLOCK = 1 << 16


def refine(
    pairs: PackedPairs,
    fit: Fit,
    prior: WeightPrior,
    posterior: Posterior,
    strengths: Strengths,
    target: torch.Tensor,
    steps: int = MAX_STEPS,
) -> Fit:
    """Refit all directions of `fit` under the posterior of the weights.

    `prior` and `posterior` are on the basis of `fit`. `pairs` are on the scaled features; the shared direction is
    penalised towards `target` [D]. `steps` bounds the L-BFGS iterations.
    """
    onto, back = _whitening(prior)
    mean = posterior.weights @ onto.t()
    second = onto @ posterior.covariance @ onto.t() + mean[:, :, None] * mean[:, None, :]
    pair_weight = likelihood_weight(pairs)
    of_pairs = [(block, mean.float(), second.float()) for block in torch.split(torch.arange(len(pairs)), _BLOCK)]
    begin = (back.t().float() @ fit.basis).contiguous()
    penalty = torch.full((len(begin), 1), strengths.personal or 0.0)
    penalty[0] = strengths.shared

    def objective(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        basis = x.view_as(begin)
        projected = pairs.project(basis)
        coefficients, loss = torch.empty_like(projected), torch.zeros(())
        for block, m, s in of_pairs:
            user = pairs.user[block]
            value, slope = expected_loss(projected[block], m[user], s[user])
            loss = loss + torch.dot(value, pair_weight[block])
            coefficients[block] = slope * pair_weight[block, None]
        off = basis.clone()
        off[0] -= target
        gradient = pairs.pull_back(coefficients) + 2 * penalty * off
        return loss + (penalty * off.square()).sum(), gradient.flatten()

    x, taken = minimise(objective, begin.flatten(), steps, _TOLERANCE)
    basis = x.view_as(begin)
    # Posterior means vary less than the weights themselves: they are rescaled to the prior's variance, 1 on each axis.
    left, _, right = torch.linalg.svd(mean[:, 1:], full_matrices=False)
    deviations = (left @ right).float() * len(mean) ** 0.5
    return principal(Fit(basis[0], basis[1:], deviations, fit.iterations + taken))


def expected_loss(
    projected: torch.Tensor, mean: torch.Tensor, second: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the bound on each comparison's expected loss [n], in nats, and its derivatives [n, K] by `projected`.

    `projected` [n, K] is d . V; `mean` [n, K] and `second` [n, K, K] are E[w] and E[w w'] of each comparison's user.
    """
    pulled = (second @ projected[:, :, None])[:, :, 0]
    c = (projected * pulled).sum(dim=1).clamp_min(1e-12).sqrt()
    # log(2 cosh(c / 2)) = c / 2 - log sigmoid(c)
    value = 0.5 * (c - (projected * mean).sum(dim=1)) - torch.nn.functional.logsigmoid(c)
    return value, (0.5 * torch.tanh(0.5 * c) / c)[:, None] * pulled - 0.5 * mean


def _whitening(prior: WeightPrior) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the map to weights of mean 0 and variance 1 on R personal axes, [R + 1, K], and its inverse [K, R + 1].

    The first weight, that of the shared direction, is kept; the mean deviation becomes part of that direction.
    """
    if prior.covariance is None:
        raise AssertionError
    variance, axes = torch.linalg.eigh(prior.covariance[1:, 1:])
    kept = variance > _NO_VARIANCE * variance.max()
    deviation, axes = variance[kept].sqrt(), axes[:, kept]
    rank = len(deviation)
    onto = torch.zeros(rank + 1, len(prior.mean), dtype=torch.float64)
    back = torch.zeros(len(prior.mean), rank + 1, dtype=torch.float64)
    onto[0, 0] = back[0, 0] = 1.0
    onto[1:, 1:], back[1:, 1:] = (axes / deviation).t(), axes * deviation
    onto[1:, 0], back[1:, 0] = -onto[1:, 1:] @ prior.mean[1:], prior.mean[1:]
    return onto, back
