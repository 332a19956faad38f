"""Basis refinement: refit all directions under the posterior of the weights (one variational EM step).

`regularized.fit_personal` treats its estimates of user weights as exact. If users have few comparisons, the estimates
are mostly noise, and the directions are fitted to that noise. Refinement instead minimises the expected loss under the
posterior of the weights w. In a comparison, let d be the embedding of the chosen response minus that of the rejected
one, z = d . V its projection on the basis V [D, K], m the posterior mean of the user's weights, and M = E[w w'] their
second moments. Then

    E[-log sigmoid(z . w)]  <=  log(2 cosh(c / 2)) - z . m / 2,    c^2 = z . M z

(Jaakkola & Jordan 2000, doi 10.1023/A:1008932416310). The bound is convex in the basis, and equals the loss if the
weights have no variance. All directions, including the shared one, are refitted with the penalties of `regularized`.
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

# Relative decrease of the loss below which L-BFGS stops.
_TOLERANCE = 1e-5
# Eigenvalues of the between-user covariance below this share of the largest one count as 0.
_NO_VARIANCE = 1e-4
# Number of comparisons whose second moments are in memory at once.
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

    `prior` and `posterior` are distributions of weights on the basis of `fit`. `pairs` have scaled features
    (`regularized.feature_scale`). A penalty pulls the shared direction towards `target` [D]. `steps` is the largest
    number of L-BFGS iterations.
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
    # Posterior means vary less than the weights themselves. They are rescaled to the variance of the prior, which is 1
    # on each whitened axis.
    left, _, right = torch.linalg.svd(mean[:, 1:], full_matrices=False)
    deviations = (left @ right).float() * len(mean) ** 0.5
    return principal(Fit(basis[0], basis[1:], deviations, fit.iterations + taken))


def expected_loss(
    projected: torch.Tensor, mean: torch.Tensor, second: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the bound on each comparison's expected loss [n], in nats, and its derivatives for `projected` [n, K].

    `projected` [n, K] is d . V; `mean` [n, K] and `second` [n, K, K] are E[w] and E[w w'] of each comparison's user.
    """
    pulled = (second @ projected[:, :, None])[:, :, 0]
    c = (projected * pulled).sum(dim=1).clamp_min(1e-12).sqrt()
    # log(2 cosh(c / 2)) = c / 2 - log sigmoid(c)
    value = 0.5 * (c - (projected * mean).sum(dim=1)) - torch.nn.functional.logsigmoid(c)
    return value, (0.5 * torch.tanh(0.5 * c) / c)[:, None] * pulled - 0.5 * mean


def _whitening(prior: WeightPrior) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the matrix [R + 1, K] that maps weights to whitened weights, and its inverse [K, R + 1].

    Whitened weights have mean 0 and variance 1 on the R axes along which personal weights vary. The first weight, which
    belongs to the shared direction, is unchanged. The prior mean of the personal weights is moved into the
    shared direction, so that the whitened personal weights have mean 0.
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
