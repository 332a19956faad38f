"""The directions once more, now that it is known how much is known of everybody's weights.

`default.fit_personal` takes its best guess of each user's weights for the truth; where a user has few answers it is
mostly noise, and the directions are fitted to that. Here the weights are averaged over, under what the answers leave
open of them: one step of expectation-maximisation. For a pair with the projections z of a user whose weights have the
posterior mean m and second moments M = E[w w'],

    E[-log sigmoid(z . w)]  <=  log(2 cosh(c / 2)) - z . m / 2,    c^2 = z . M z

(Jaakkola & Jordan 2000, doi 10.1023/A:1008932416310). Where nothing is open the two are equal, and it is convex in the
directions. All of them move, the shared one too, under the penalties of `default`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lorerm.training.regularized import MAX_STEPS, Fit, judgement_weight, minimise, principal

if TYPE_CHECKING:
    from lorerm.model.posterior import Posterior
    from lorerm.model.prior import WeightPrior
    from lorerm.training.pairs import PackedPairs
    from lorerm.training.regularized import Strengths

_TOLERANCE = 1e-5
# People differ along an axis of the weights if they do by more than this share of the largest variance.
_NO_SPREAD = 1e-4
# Pairs whose second moments are looked at together, to spare memory.
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
    """Fit all directions to the posterior of everybody's weights.

    Parameters
    ----------
    pairs
        On the scaled features.
    fit
        Its directions are where to start.
    prior, posterior
        What is believed of weights on its basis: of anybody's, and of those of each user of `pairs`.
    strengths
        Those of `default.fit_shared` and `default.fit_personal`.
    target
        [D]: what the shared direction is drawn to.
    steps
        L-BFGS iterations at most.
    """
    onto, back = _whitening(prior)
    mean = posterior.weights @ onto.t()
    second = onto @ posterior.covariance @ onto.t() + mean[:, :, None] * mean[:, None, :]
    pair_weight = judgement_weight(pairs)
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
    # Posterior means lie closer together than people do: their spread is made that of the prior, 1 along every axis.
    left, _, right = torch.linalg.svd(mean[:, 1:], full_matrices=False)
    deviations = (left @ right).float() * len(mean) ** 0.5
    return principal(Fit(basis[0], basis[1:], deviations, fit.steps + taken))


def expected_loss(
    projected: torch.Tensor, mean: torch.Tensor, second: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the bound on each pair's expected loss [n], in nats, and its derivative by the projections [n, K].

    Parameters
    ----------
    projected
        [n, K]: d . V.
    mean, second
        [n, K] and [n, K, K]: the moments E[w] and E[w w'] of each pair's user.
    """
    pulled = (second @ projected[:, :, None])[:, :, 0]
    c = (projected * pulled).sum(dim=1).clamp_min(1e-12).sqrt()
    # log(2 cosh(c / 2)) = c / 2 - log sigmoid(c)
    value = 0.5 * (c - (projected * mean).sum(dim=1)) - torch.nn.functional.logsigmoid(c)
    return value, (0.5 * torch.tanh(0.5 * c) / c)[:, None] * pulled - 0.5 * mean


def _whitening(prior: WeightPrior) -> tuple[torch.Tensor, torch.Tensor]:
    """Return how weights become such as vary by 1 around 0 along every axis, and how these become weights again.

    The first weight, of the shared direction, stays; the population's mean deviation becomes part of that direction.

    Returns
    -------
    tuple
        Float64 [R + 1, K], and [K, R + 1].
    """
    if prior.covariance is None:
        raise AssertionError
    variance, axes = torch.linalg.eigh(prior.covariance[1:, 1:])
    kept = variance > _NO_SPREAD * variance.max()
    deviation, axes = variance[kept].sqrt(), axes[:, kept]
    rank = len(deviation)
    onto = torch.zeros(rank + 1, len(prior.mean), dtype=torch.float64)
    back = torch.zeros(len(prior.mean), rank + 1, dtype=torch.float64)
    onto[0, 0] = back[0, 0] = 1.0
    onto[1:, 1:], back[1:, 1:] = (axes / deviation).t(), axes * deviation
    onto[1:, 0], back[1:, 0] = -onto[1:, 1:] @ prior.mean[1:], prior.mean[1:]
    return onto, back
