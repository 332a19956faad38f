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
    from collections.abc import Iterator, Sequence

WeightSpace = Literal["free", "simplex"]

# Elements of the largest intermediate, [pairs, K, K] float64: users are solved in blocks that keep it near 64 MB, and
# smaller where there are several kinds, which is faster.
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
    penalties = _penalties(prior)
    # All kinds of people are solved together, a user being one more for each; an axis that a kind lacks is 0.
    axes = torch.nn.utils.rnn.pad_sequence([each.axes.t() for each in penalties], batch_first=True).transpose(1, 2)
    means, shares = torch.stack([each.mean for each in penalties]), _shares(prior)
    n_kinds, parts = len(means), []
    for first, last, pairs in _blocks(user, n_users, n_kinds * projected.shape[1]):
        z, m = projected[pairs].double() / temperature, last - first
        who = user[pairs] - first + m * torch.arange(n_kinds)[:, None]
        problem = Problem(
            (z @ axes).flatten(0, 1),
            (means @ z.t()).flatten(),
            who.flatten(),
            count[pairs].double().repeat(n_kinds),
            n_kinds * m,
            penalties[0],
        )
        t, value, hessian = problem.minimise()
        evidence = -value - 0.5 * torch.linalg.slogdet(hessian).logabsdet
        weights = means[:, None] + t.view(n_kinds, m, -1) @ axes.transpose(1, 2)
        inverse = torch.linalg.inv(hessian).unflatten(0, (n_kinds, m))
        covariance = axes[:, None] @ inverse @ axes[:, None].transpose(2, 3)
        probability = torch.softmax(evidence.view(n_kinds, m).t() + shares.log(), dim=1)
        parts.append(combine(probability, weights.transpose(0, 1), covariance.transpose(0, 1)))
    return Posterior(*(torch.cat(part) for part in zip(*parts, strict=True)))


def _penalties(prior: WeightPrior) -> Sequence[GaussianPenalty | SimplexPenalty]:
    """Return the penalty of each kind of people; those of Gaussians are the same in their own coordinates."""
    if prior.weight_space == "simplex":
        return [SimplexPenalty(prior)]
    if prior.mixture is None:
        return [GaussianPenalty(prior)]
    _, means, covariances = prior.mixture
    return [GaussianPenalty(WeightPrior(*kind)) for kind in zip(means, covariances, strict=True)]


def _shares(prior: WeightPrior) -> torch.Tensor:
    return torch.ones(1, dtype=torch.float64) if prior.mixture is None else prior.mixture.shares


def combine(probability: torch.Tensor, weights: torch.Tensor, covariance: torch.Tensor) -> Posterior:
    """Return the moments over kinds of probabilities [M, C], weights [M, C, K] and covariances [M, C, K, K]."""
    mean = torch.einsum("mc,mck->mk", probability, weights)
    off = weights - mean[:, None]
    within = torch.einsum("mc,mckl->mkl", probability, covariance)
    return Posterior(mean, within + torch.einsum("mc,mck,mcl->mkl", probability, off, off))


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
