"""Newton's method on one small convex problem per user, in batches: minima and curvatures for `posterior`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from lorerm.model.posterior import WeightPrior

# A Newton decrement (squared, halved: an estimate of the distance to the minimum in nats) below this is converged.
_TOLERANCE = 1e-12
# Margins of a thousand nats with contradicting answers take about a hundred steps; the usual ones take six.
_NEWTON_STEPS = 200
_HALVINGS = 40


class GaussianPenalty:
    """1/2 |t|^2 for w = mean + axes t, the axes scaled by the prior's spread (those without any are left out)."""

    def __init__(self, prior: WeightPrior) -> None:
        if prior.covariance is None:
            raise AssertionError
        self.mean = prior.mean.double()
        variance, vectors = torch.linalg.eigh(prior.covariance.double())
        kept = variance > max(float(variance.max()), 0.0) * 1e-12
        self.axes = vectors[:, kept] * variance[kept].sqrt()

    def value(self, t: torch.Tensor) -> torch.Tensor:
        """Return each user's value [M]."""
        return 0.5 * t.square().sum(dim=1)

    def gradient(self, t: torch.Tensor) -> torch.Tensor:
        """Return [M, r]."""
        return t

    def hessian(self, t: torch.Tensor) -> torch.Tensor:
        """Return [M, r, r]."""
        return torch.eye(t.shape[1], dtype=t.dtype).expand(len(t), -1, -1)


class SimplexPenalty:
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
        """Return each user's value [M]."""
        weights = self._weights(t)
        inside = (weights > 0).all(dim=1)
        kl = (self.mean * (self.mean / weights.clamp_min(1e-300)).log()).sum(dim=1)
        return torch.where(inside, self.scale * kl, torch.inf)

    def gradient(self, t: torch.Tensor) -> torch.Tensor:
        """Return [M, r]."""
        pull = self.mean / self._weights(t)
        return torch.mul(pull @ self.axes, -self.scale)

    def hessian(self, t: torch.Tensor) -> torch.Tensor:
        """Return [M, r, r]."""
        curvature = self.scale * self.mean / self._weights(t).square()
        return torch.einsum("kr,mk,ks->mrs", self.axes, curvature, self.axes)


class Problem:
    """The block's objective in the coordinates t of w = mean + axes t, one row of t per user."""

    def __init__(
        self,
        features: torch.Tensor,
        offset: torch.Tensor,
        user: torch.Tensor,
        count: torch.Tensor,
        n_users: int,
        penalty: GaussianPenalty | SimplexPenalty,
    ) -> None:
        self.features, self.offset, self.user, self.count, self.penalty = features, offset, user, count, penalty
        self.start = features.new_zeros(n_users, features.shape[1])

    def _sum(self, values: torch.Tensor) -> torch.Tensor:
        return values.new_zeros((len(self.start), *values.shape[1:])).index_add_(0, self.user, values)

    def margin(self, t: torch.Tensor) -> torch.Tensor:
        """Return each pair's log-odds: what the next three need of t, and so computed once for all of them."""
        return self.offset + (self.features * t[self.user]).sum(dim=1)

    def value(self, t: torch.Tensor, margin: torch.Tensor) -> torch.Tensor:
        """Return each user's value [M]."""
        return self._sum(-self.count * torch.nn.functional.logsigmoid(margin)) + self.penalty.value(t)

    def gradient(self, t: torch.Tensor, margin: torch.Tensor) -> torch.Tensor:
        """Return [M, r]."""
        slope = -self.count * torch.sigmoid(-margin)
        return self._sum(self.features * slope[:, None]) + self.penalty.gradient(t)

    def hessian(self, t: torch.Tensor, margin: torch.Tensor) -> torch.Tensor:
        """Return [M, r, r]."""
        chance = torch.sigmoid(margin)
        scaled = self.features * (self.count * chance * (1 - chance))[:, None]
        return self._sum(scaled[:, :, None] * self.features[:, None, :]) + self.penalty.hessian(t)

    def minimise(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Newton's method with halved steps where a full one does not descend; the users are independent.

        Return the minimum t, its value, and the Hessian there.
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
        return t, value, hessian
