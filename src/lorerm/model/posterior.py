"""Weights of many users at once, given a fixed basis: posterior modes and Laplace covariances.

For user u with projected differences z_i = d_i . V and comparison weights c_i, the weights minimise

    sum_i c_i * -log sigmoid(z_i . w / s)  +  penalty(w)

The penalty is the negative log prior (`lorerm.model.prior`): Gaussian in `free` weight space, kappa * KL(mean || w) in
`simplex` weight space. Its minimum is the prior mean, so that a user without comparisons has the population weights.
The inverse Hessian at the minimum is the posterior covariance (Laplace approximation).

Under a mixture prior the problem is solved once per component. The weights are the mean over components, each weighted
by its posterior probability, which is proportional to its share times its evidence (Laplace approximation).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from lorerm.model.newton import GaussianPenalty, Problem, SimplexPenalty
from lorerm.threads import map_in_threads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lorerm.model.prior import WeightPrior

# Elements of a block of users, K x K per component and comparison: bounds the memory to some tens of MB.
_BLOCK_ELEMENTS = 2_000_000


class Posterior(NamedTuple):
    """Posterior mean of the weights [M, K] and their covariance [M, K, K], float64."""

    weights: torch.Tensor
    covariance: torch.Tensor


def solve(
    projected: torch.Tensor,
    user: torch.Tensor,
    count: torch.Tensor,
    n_users: int,
    prior: WeightPrior,
    temperature: float = 1.0,
) -> Posterior:
    """Compute the posterior of the weights of M = `n_users` users; without comparisons it has the prior's moments.

    `projected` [n, K] is d . V of each comparison, grouped by user; `user` (int64 [n], non-decreasing) the index of
    each comparison's user; `count` [n] the weight of each comparison in the likelihood.
    """
    penalty: GaussianPenalty | SimplexPenalty
    if prior.concentration is None:
        penalty, log_shares = GaussianPenalty(prior.components), prior.components.shares.log()
    else:
        penalty, log_shares = SimplexPenalty(prior.mean, prior.concentration), torch.zeros(1, dtype=torch.float64)
    first = torch.searchsorted(user, torch.arange(n_users + 1))
    lengths = first.diff()
    # Users are sorted by their number of comparisons: those of one block need little padding.
    order = lengths.argsort(stable=True)

    def fit(block: slice) -> Posterior:
        users = order[block]
        position = torch.arange(int(lengths[users[-1]]))
        rows = torch.minimum(first[users, None] + position, first[-1] - 1)
        counted = torch.where(position < lengths[users, None], count[rows].double(), 0.0)
        return _fit(projected[rows].double() / temperature, counted, penalty, log_shares)

    blocks = list(_blocks(lengths[order], len(log_shares) * projected.shape[1] ** 2))
    parts = list(map_in_threads(fit, blocks))
    back = order.argsort()
    return Posterior(*(torch.cat(part)[back] for part in zip(*parts, strict=True)))


def _fit(
    z: torch.Tensor, count: torch.Tensor, penalty: GaussianPenalty | SimplexPenalty, log_shares: torch.Tensor
) -> Posterior:
    """Fit M users with m comparisons each, all C components in one batch: z is [M, m, K], count is [M, m]."""
    (n_users, n_pairs, _), (n_components, _, n_axes) = z.shape, penalty.axes.shape
    n = n_components * n_users
    features = (z.flatten(0, 1) @ penalty.axes).view(n, n_pairs, n_axes)
    offset = (z @ penalty.means.t()).permute(2, 0, 1).reshape(n, n_pairs)
    problem = Problem(features, offset, count.repeat(n_components, 1), penalty)
    t, value, hessian = problem.minimise(features.new_zeros(n, n_axes))
    log_evidence = -(value + 0.5 * torch.linalg.slogdet(hessian).logabsdet).view(n_components, n_users)
    weights = torch.baddbmm(penalty.means[:, None], t.view(n_components, n_users, n_axes), penalty.axes.mT)
    inverse = torch.linalg.inv(hessian).view(n_components, n_users, n_axes, n_axes)
    covariance = penalty.axes[:, None] @ inverse @ penalty.axes[:, None].mT
    probability = torch.softmax((log_shares[:, None] + log_evidence).t(), dim=1)
    return combine(probability, weights.transpose(0, 1), covariance.transpose(0, 1))


def combine(probability: torch.Tensor, weights: torch.Tensor, covariance: torch.Tensor) -> Posterior:
    """Return the moments of mixtures, given the components' probabilities [M, C], means and covariances."""
    mean = (probability[:, :, None] * weights).sum(dim=1)
    off = weights - mean[:, None]
    second = covariance + off[..., None] * off[..., None, :]
    return Posterior(mean, (probability[:, :, None, None] * second).sum(dim=1))


def _blocks(lengths: torch.Tensor, elements: int) -> Iterator[slice]:
    """Yield spans of users whose padded comparisons take at most `_BLOCK_ELEMENTS`, one user at least.

    `lengths` are the users' ascending numbers of comparisons, `elements` the size of one comparison.
    """
    most, padded, first = max(1, _BLOCK_ELEMENTS // max(1, elements)), lengths.tolist(), 0
    while first < len(padded):
        last = first + 1
        while last < len(padded) and (last + 1 - first) * max(1, padded[last]) <= most:
            last += 1
        yield slice(first, last)
        first = last
