"""Weights of many users at once, the basis fixed: a batched Newton method on one small convex problem per user.

For user u with projected differences z_i = d_i . V and judgement weights c_i, the weights minimise

    sum_i c_i * -log sigmoid(z_i . w / s)  +  penalty(w)

where the penalty is a prior fitted on the seen users: Gaussian in `free` weight space, and in `simplex` weight space
a multiple of KL(mean || w), whose minimum is the mean and which keeps w inside the simplex. Either way no answers give
the prior's mean, and the Hessian at the minimum gives the covariance (the Laplace approximation).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

WeightSpace = Literal["free", "simplex"]

# A Newton decrement (squared, halved: an estimate of the distance to the minimum in nats) below this is converged.
_TOLERANCE = 1e-12
# Margins of a thousand nats with contradicting answers take about a hundred steps; the usual ones take six.
_NEWTON_STEPS = 200
_HALVINGS = 40
# Elements of the largest intermediate, [pairs, K, K] float64: users are solved in blocks that keep it near 64 MB.
_BLOCK_ELEMENTS = 8_000_000


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
    """

    mean: torch.Tensor
    covariance: torch.Tensor | None = None
    concentration: float | None = None

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
    penalty = _GaussianPenalty(prior) if prior.weight_space == "free" else _SimplexPenalty(prior)
    weights, covariances = [], []
    for first, last, pairs in _blocks(user, n_users, projected.shape[1]):
        z = projected[pairs].double() / temperature
        problem = _Problem(
            z @ penalty.axes, z @ penalty.mean, user[pairs] - first, count[pairs].double(), last - first, penalty
        )
        t, hessian = problem.minimise()
        weights.append(penalty.mean + t @ penalty.axes.t())
        covariances.append(penalty.axes @ torch.linalg.inv(hessian) @ penalty.axes.t())
    return Posterior(torch.cat(weights), torch.cat(covariances))


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


class _GaussianPenalty:
    """1/2 |t|^2 for w = mean + axes t, the axes scaled by the prior's spread (those without any are left out)."""

    def __init__(self, prior: WeightPrior) -> None:
        if prior.covariance is None:
            raise AssertionError
        self.mean = prior.mean.double()
        variance, vectors = torch.linalg.eigh(prior.covariance.double())
        kept = variance > max(float(variance.max()), 0.0) * 1e-12
        self.axes = vectors[:, kept] * variance[kept].sqrt()

    def value(self, t: torch.Tensor) -> torch.Tensor:
        return 0.5 * t.square().sum(dim=1)

    def gradient(self, t: torch.Tensor) -> torch.Tensor:
        return t

    def hessian(self, t: torch.Tensor) -> torch.Tensor:
        return torch.eye(t.shape[1], dtype=t.dtype).expand(len(t), -1, -1)


class _SimplexPenalty:
    """concentration * KL(mean || w) for w = mean + axes t, the axes an orthonormal basis of what sums to 0."""

    def __init__(self, prior: WeightPrior) -> None:
        # A weight of exactly 0 could never grow again; 1e-6 is below anything that changes a ranking.
        mean = prior.mean.double().clamp_min(1e-6)
        self.mean: torch.Tensor = mean / mean.sum()
        self.scale = float(prior.concentration or 1.0)
        rank = len(mean)
        ones = torch.full((rank, 1), rank**-0.5, dtype=torch.float64)
        units = torch.eye(rank, dtype=torch.float64)[:, : rank - 1]
        self.axes: torch.Tensor = torch.linalg.qr(torch.cat([ones, units], dim=1)).Q[:, 1:]

    def _weights(self, t: torch.Tensor) -> torch.Tensor:
        return torch.add(self.mean, t @ self.axes.t())

    def value(self, t: torch.Tensor) -> torch.Tensor:
        weights = self._weights(t)
        inside = (weights > 0).all(dim=1)
        kl = (self.mean * (self.mean / weights.clamp_min(1e-300)).log()).sum(dim=1)
        return torch.where(inside, self.scale * kl, torch.inf)

    def gradient(self, t: torch.Tensor) -> torch.Tensor:
        pull = self.mean / self._weights(t)
        return torch.mul(pull @ self.axes, -self.scale)

    def hessian(self, t: torch.Tensor) -> torch.Tensor:
        curvature = self.scale * self.mean / self._weights(t).square()
        return torch.einsum("kr,mk,ks->mrs", self.axes, curvature, self.axes)


class _Problem:
    """The block's objective in the coordinates t of w = mean + axes t, one row of t per user."""

    def __init__(
        self,
        features: torch.Tensor,
        offset: torch.Tensor,
        user: torch.Tensor,
        count: torch.Tensor,
        n_users: int,
        penalty: _GaussianPenalty | _SimplexPenalty,
    ) -> None:
        self.features, self.offset, self.user, self.count, self.penalty = features, offset, user, count, penalty
        self.start = features.new_zeros(n_users, features.shape[1])

    def _sum(self, values: torch.Tensor) -> torch.Tensor:
        return values.new_zeros((len(self.start), *values.shape[1:])).index_add_(0, self.user, values)

    def margin(self, t: torch.Tensor) -> torch.Tensor:
        """Return each pair's log-odds: what the next three need of t, and so computed once for all of them."""
        return self.offset + (self.features * t[self.user]).sum(dim=1)

    def value(self, t: torch.Tensor, margin: torch.Tensor) -> torch.Tensor:
        return self._sum(-self.count * torch.nn.functional.logsigmoid(margin)) + self.penalty.value(t)

    def gradient(self, t: torch.Tensor, margin: torch.Tensor) -> torch.Tensor:
        slope = -self.count * torch.sigmoid(-margin)
        return self._sum(self.features * slope[:, None]) + self.penalty.gradient(t)

    def hessian(self, t: torch.Tensor, margin: torch.Tensor) -> torch.Tensor:
        chance = torch.sigmoid(margin)
        scaled = self.features * (self.count * chance * (1 - chance))[:, None]
        return self._sum(scaled[:, :, None] * self.features[:, None, :]) + self.penalty.hessian(t)

    def minimise(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Newton's method with halved steps where a full one does not descend; the users are independent.

        Return the minimum and the Hessian there.
        """
        t = self.start
        margin = self.margin(t)
        value = self.value(t, margin)
        hessian = self.hessian(t, margin)
        for _ in range(_NEWTON_STEPS if t.numel() else 0):
            gradient = self.gradient(t, margin)
            step = -torch.linalg.solve(hessian, gradient)
            decrement = -(gradient * step).sum(dim=1)
            if float(decrement.max()) < 2 * _TOLERANCE:
                break
            length = torch.ones_like(value)
            for _ in range(_HALVINGS):
                new = t + length[:, None] * step
                new_margin = self.margin(new)
                new_value = self.value(new, new_margin)
                # Armijo's rule; the slack lets users who have converged keep their step within rounding.
                short = new_value > value - 1e-4 * length * decrement + 1e-13 * (1 + value.abs())
                if not bool(short.any()):
                    break
                length = torch.where(short, 0.5 * length, length)
            else:
                new = torch.where(short[:, None], t, new)
                new_margin = self.margin(new)
                new_value = torch.where(short, value, new_value)
            t, margin, value = new, new_margin, new_value
            hessian = self.hessian(t, margin)
        return t, hessian
