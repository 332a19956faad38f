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

if TYPE_CHECKING:
    from collections.abc import Iterator

WeightSpace = Literal["free", "simplex"]

# Elements of the largest intermediate, [pairs, K, K] float64: users are solved in blocks that keep it near 64 MB.
_BLOCK_ELEMENTS = 8_000_000


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
    if prior.mixture is None:
        return _solve(projected, user, count, n_users, prior, temperature)[0]
    kinds = [
        _solve(projected, user, count, n_users, WeightPrior(mean, covariance), temperature)
        for mean, covariance in zip(prior.mixture.means, prior.mixture.covariances, strict=True)
    ]
    evidence = torch.stack([evidence for _, evidence in kinds], dim=1)
    return combine(
        torch.softmax(evidence + prior.mixture.shares.log(), dim=1),
        torch.stack([kind.weights for kind, _ in kinds], dim=1),
        torch.stack([kind.covariance for kind, _ in kinds], dim=1),
    )


def combine(probability: torch.Tensor, weights: torch.Tensor, covariance: torch.Tensor) -> Posterior:
    """Return the moments over kinds of probabilities [M, C], weights [M, C, K] and covariances [M, C, K, K]."""
    mean = torch.einsum("mc,mck->mk", probability, weights)
    off = weights - mean[:, None]
    within = torch.einsum("mc,mckl->mkl", probability, covariance)
    return Posterior(mean, within + torch.einsum("mc,mck,mcl->mkl", probability, off, off))


def _solve(
    projected: torch.Tensor,
    user: torch.Tensor,
    count: torch.Tensor,
    n_users: int,
    prior: WeightPrior,
    temperature: float,
) -> tuple[Posterior, torch.Tensor]:
    """Return the posterior under one kind, and the log evidence of it in each user's answers [M] (Laplace's)."""
    penalty = GaussianPenalty(prior) if prior.weight_space == "free" else SimplexPenalty(prior)
    weights, covariances, evidence = [], [], []
    for first, last, pairs in _blocks(user, n_users, projected.shape[1]):
        z = projected[pairs].double() / temperature
        problem = Problem(
            z @ penalty.axes, z @ penalty.mean, user[pairs] - first, count[pairs].double(), last - first, penalty
        )
        t, value, hessian = problem.minimise()
        weights.append(penalty.mean + t @ penalty.axes.t())
        covariances.append(penalty.axes @ torch.linalg.inv(hessian) @ penalty.axes.t())
        evidence.append(-value - 0.5 * torch.linalg.slogdet(hessian).logabsdet)
    return Posterior(torch.cat(weights), torch.cat(covariances)), torch.cat(evidence)


def _blocks(user: torch.Tensor, n_users: int, rank: int) -> Iterator[tuple[int, int, slice]]:
    """Yield (first user, last user + 1, their pairs) so that a block's Hessian terms stay small."""
    starts = torch.searchsorted(user, torch.arange(n_users + 1)).tolist()
    most = max(1, _BLOCK_ELEMENTS // max(1, rank * rank))
    first = 0
    while first < n_users:
        last = first + 1
        while last < n_users and starts[last + 1] - starts[first] <= most and last - first < most:
            last += 1
        yield first, last, slice(starts[first], starts[last])
        first = last
