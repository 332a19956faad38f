"""Posterior modes and covariances of the weights of many users at once, given the basis.

In comparison i of a user, let d_i be the embedding of the chosen response minus that of the rejected one, z_i = d_i . V
its projection on the basis V [D, K], and c_i the comparison's weight. With temperature s, the user's weights w minimise

    sum_i c_i * -log sigmoid(z_i . w / s)  +  penalty(w)

The penalty is the negative log prior (`lorerm.model.prior`): Gaussian in `free` weight space, kappa * KL(mean || w) in
`simplex` weight space. Its minimum is the prior mean, which is therefore the result for a user without comparisons.
The inverse Hessian at the minimum is the posterior covariance (Laplace approximation).

Under a mixture prior the problem is solved once per component. The user's weights are the average over components,
weighted by the posterior probability of each component. That probability is proportional to the component's share times
its evidence (Laplace approximation).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from lorerm.model.newton import GaussianPenalty, Problem, SimplexPenalty
from lorerm.threads import map_in_threads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lorerm.model.prior import WeightPrior

# Maximum number of elements of a block of users, whose weights are computed together. Each comparison takes C x K x K
# elements (C: components of the prior). This limits memory to some tens of MB.
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
    """Compute the posterior of the weights of M = `n_users` users.

    The posterior of a user without comparisons is the prior (in `simplex` weight space, a Laplace approximation of it).
    The n comparisons are grouped by user:

    - `projected` [n, K] is d . V of each comparison;
    - `user`, int64 [n] and non-decreasing, is the index of each comparison's user;
    - `count` [n] is the weight of each comparison in the likelihood.
    """
    penalty: GaussianPenalty | SimplexPenalty
    if prior.concentration is None:
        penalty, log_shares = GaussianPenalty(prior.components), prior.components.shares.log()
    else:
        penalty, log_shares = SimplexPenalty(prior.mean, prior.concentration), torch.zeros(1, dtype=torch.float64)
    first = torch.searchsorted(user, torch.arange(n_users + 1))
    lengths = first.diff()
    # Users are sorted by their number of comparisons, so that the users of a block need little padding.
    order = lengths.argsort(stable=True)

    def fit(block: slice) -> Posterior:
        users = order[block]
        # [users, position]: each user's comparisons, padded with arbitrary rows of weight 0 to the same length.
        position = torch.arange(int(lengths[users[-1]]))
        rows = torch.minimum(first[users, None] + position, first[-1] - 1)
        counted = torch.where(position < lengths[users, None], count[rows].double(), 0.0)
        return _fit(projected[rows].double() / temperature, counted, penalty, log_shares)

    blocks = list(_blocks(lengths[order], len(log_shares) * projected.shape[1] ** 2))
    parts = list(map_in_threads(fit, blocks))
    back = order.argsort()  # back to the original order of users
    return Posterior(*(torch.cat(part)[back] for part in zip(*parts, strict=True)))


def _fit(
    z: torch.Tensor, count: torch.Tensor, penalty: GaussianPenalty | SimplexPenalty, log_shares: torch.Tensor
) -> Posterior:
    """Fit M users with m comparisons each (after padding); `z` is [M, m, K], `count` is [M, m].

    All C components are one batch of C * M problems, ordered by component, then by user.
    """
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
    """Return means and covariances of M mixtures, given their components.

    `probability` is [M, C]; `weights` [M, C, K] and `covariance` [M, C, K, K] are the components' moments.
    """
    mean = (probability[:, :, None] * weights).sum(dim=1)
    off = weights - mean[:, None]
    second = covariance + off[..., None] * off[..., None, :]
    return Posterior(mean, (probability[:, :, None, None] * second).sum(dim=1))


def _blocks(lengths: torch.Tensor, elements: int) -> Iterator[slice]:
    """Yield slices of users whose padded comparisons have at most `_BLOCK_ELEMENTS` elements (or a single user).

    `lengths` are the users' numbers of comparisons, ascending; `elements` is the number of elements of one comparison.
    """
    most, padded, first = max(1, _BLOCK_ELEMENTS // max(1, elements)), lengths.tolist(), 0
    while first < len(padded):
        last = first + 1
        while last < len(padded) and (last + 1 - first) * max(1, padded[last]) <= most:
            last += 1
        yield slice(first, last)
        first = last
