"""Weights of many users at once, the basis fixed: a batched Newton method on one small convex problem per user.

For user u with projected differences z_i = d_i . V and judgement weights c_i, the weights minimise

    sum_i c_i * -log sigmoid(z_i . w / s)  +  penalty(w)

where the penalty is a prior fitted on the seen users: Gaussian in `free` weight space, and in `simplex` weight space
a multiple of KL(mean || w), whose minimum is the mean and which keeps w inside the simplex. Either way no answers give
the prior's mean, and the Hessian at the minimum gives the covariance (the Laplace approximation).

A prior may also be a mixture of Gaussians: people of several kinds. Then each kind has its own convex problem, and the
weights are the mean over the kinds, each as probable as it and the answers together are (Laplace's approximation of
the evidence).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch

from lorerm.model.newton import GaussianPenalty, Problem, SimplexPenalty
from lorerm.threads import map_in_threads

if TYPE_CHECKING:
    from collections.abc import Iterator

WeightSpace = Literal["free", "simplex"]

# Users are solved in blocks of so many elements, K x K for each kind and pair, which take some tens of MB.
_BLOCK_ELEMENTS = 2_000_000


class Mixture(NamedTuple):
    """Gaussians over weights, one for each of C kinds of people."""

    shares: torch.Tensor
    """float64 [C], summing to 1: how many people are of each kind"""
    means: torch.Tensor
    """float64 [C, K]"""
    covariances: torch.Tensor
    """float64 [C, K, K]"""

    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean [K] and the covariance [K, K] over all kinds."""
        mean = self.shares @ self.means
        off = self.means - mean
        spread = torch.einsum("c,ckl->kl", self.shares, self.covariances)
        return mean, spread + torch.einsum("c,ck,cl->kl", self.shares, off, off)


@dataclass(frozen=True, eq=False)
class WeightPrior:
    """What is believed of a user before the first answer.

    Parameters
    ----------
    mean
        Float64 [K]: the population's weights.
    covariance
        Float64 [K, K]: the spread between users (`free` weight space); directions without spread stay at the mean.
    concentration
        How many nats one unit of KL(mean || w) costs (`simplex` weight space).
    mixture
        The kinds of people that the mean and the covariance are those of, where a Gaussian is too simple; or None.
    """

    mean: torch.Tensor
    covariance: torch.Tensor | None = None
    concentration: float | None = None
    mixture: Mixture | None = None

    @classmethod
    def of_kinds(cls, mixture: Mixture) -> WeightPrior:
        """Return a mixture as a prior; one kind alone is a Gaussian."""
        mean, covariance = mixture.moments()
        return cls(mean, covariance, mixture=mixture if len(mixture.shares) > 1 else None)

    @property
    def weight_space(self) -> WeightSpace:
        """`simplex` where a concentration is given, else `free`."""
        return "free" if self.concentration is None else "simplex"

    @property
    def kinds(self) -> Mixture:
        """The mixture; of one kind where there is none (`free` weight space)."""
        if self.mixture is not None:
            return self.mixture
        if self.covariance is None:
            raise AssertionError
        return Mixture(torch.ones(1, dtype=torch.float64), self.mean[None], self.covariance[None])

    @classmethod
    def fixed(cls, mean: torch.Tensor) -> WeightPrior:
        """Return a prior that no answer moves: every user has the mean's weights."""
        return cls(mean=mean.double(), covariance=torch.zeros(len(mean), len(mean), dtype=torch.float64))


class Posterior(NamedTuple):
    """Weights [M, K] and their covariances [M, K, K], float64."""

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
    """Fit the weights of all users.

    Parameters
    ----------
    projected
        Float [n, K]: d . V of each pair, pairs grouped by user.
    user
        Int64 [n], non-decreasing, in 0..n_users-1; a user without pairs gets the prior.
    count
        Float [n]: how many judgements each pair stands for.
    n_users
        M.
    prior
        The belief that the answers update.
    temperature
        s.
    """
    penalty: GaussianPenalty | SimplexPenalty
    if prior.concentration is None:
        penalty, log_shares = GaussianPenalty(prior.kinds), prior.kinds.shares.log()
    else:
        penalty, log_shares = SimplexPenalty(prior.mean, prior.concentration), torch.zeros(1, dtype=torch.float64)
    first = torch.searchsorted(user, torch.arange(n_users + 1))
    lengths = first.diff()
    # Neighbours in this order have about as many pairs, so that little is filled up.
    order = lengths.argsort(stable=True)

    def fit(block: slice) -> Posterior:
        who = order[block]
        place = torch.arange(int(lengths[who[-1]]))
        rows = torch.minimum(first[who, None] + place, first[-1] - 1)
        counted = torch.where(place < lengths[who, None], count[rows].double(), 0.0)
        return _fit(projected[rows].double() / temperature, counted, penalty, log_shares)

    blocks = list(_blocks(lengths[order], len(log_shares) * projected.shape[1] ** 2))
    parts = list(map_in_threads(fit, blocks))
    back = order.argsort()
    return Posterior(*(torch.cat(part)[back] for part in zip(*parts, strict=True)))


def _fit(
    z: torch.Tensor, count: torch.Tensor, penalty: GaussianPenalty | SimplexPenalty, log_shares: torch.Tensor
) -> Posterior:
    """Fit the weights of M users with m pairs each, all kinds of people together: z is [M, m, K], counts are [M, m]."""
    (n_users, n_pairs, _), (n_kinds, _, n_axes) = z.shape, penalty.axes.shape
    features = (z.flatten(0, 1) @ penalty.axes).view(n_kinds * n_users, n_pairs, n_axes)
    offset = (z @ penalty.means.t()).permute(2, 0, 1).reshape(n_kinds * n_users, n_pairs)
    problem = Problem(features, offset, count.repeat(n_kinds, 1), penalty)
    t, value, hessian = problem.minimise(features.new_zeros(n_kinds * n_users, n_axes))
    evidence = log_shares[:, None] - (value + 0.5 * torch.linalg.slogdet(hessian).logabsdet).view(n_kinds, n_users)
    weights = torch.baddbmm(penalty.means[:, None], t.view(n_kinds, n_users, n_axes), penalty.axes.mT)
    inverse = torch.linalg.inv(hessian).view(n_kinds, n_users, n_axes, n_axes)
    covariance = penalty.axes[:, None] @ inverse @ penalty.axes[:, None].mT
    return combine(torch.softmax(evidence.t(), dim=1), weights.transpose(0, 1), covariance.transpose(0, 1))


def combine(probability: torch.Tensor, weights: torch.Tensor, covariance: torch.Tensor) -> Posterior:
    """Return the moments over kinds of probabilities [M, C], weights [M, C, K] and covariances [M, C, K, K]."""
    mean = (probability[:, :, None] * weights).sum(dim=1)
    off = weights - mean[:, None]
    spread = covariance + off[..., None] * off[..., None, :]
    return Posterior(mean, (probability[:, :, None, None] * spread).sum(dim=1))


def _blocks(lengths: torch.Tensor, elements: int) -> Iterator[slice]:
    """Yield spans of users, whose numbers of pairs ascend, so that a block's intermediates stay small.

    `elements` is how many a pair has; whoever has fewer pairs than others in the block is filled up to as many.
    """
    most, filled, first = max(1, _BLOCK_ELEMENTS // max(1, elements)), lengths.tolist(), 0
    while first < len(filled):
        last = first + 1
        while last < len(filled) and (last + 1 - first) * max(1, filled[last]) <= most:
            last += 1
        yield slice(first, last)
        first = last
