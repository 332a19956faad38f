"""Newton's method for many small convex problems at once: one per user and component of the mixture prior.

`lorerm.model.posterior` defines the problems. They are solved in coordinates t of the weights, w = mean + axes t. The
penalty, which is the negative log prior, has its minimum at t = 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from lorerm.model.prior import Mixture

# A problem has converged if half the squared Newton decrement, which estimates how far the value is above the minimum
# (in nats), is below this.
_TOLERANCE = 1e-12
# Largest number of Newton steps. Typical problems take 6; contradictory comparisons with log-odds in the thousands take
# about 100.
_NEWTON_STEPS = 200
# Largest number of times that a step is halved.
_HALVINGS = 40
# Converged problems are dropped once there are more of them than of unconverged problems, and more than this number.
# Dropping fewer costs more time for copying tensors than it saves.
_MIN_DROPPED = 256
# Eigenvalues of a covariance below this share of the largest one count as 0.
_NO_VARIANCE = 1e-12


class GaussianPenalty:
    """Negative log density of each Gaussian component up to a constant: 1/2 |t|^2 for w = mean + axes t.

    The axes of a component are the eigenvectors of its covariance, scaled by its standard deviations. The k-th axis is
    left out if it has no variance in any component; if it has none in one component only, it is 0 in that component.
    """

    def __init__(self, components: Mixture) -> None:
        self.means = components.means.double()
        variance, vectors = torch.linalg.eigh(components.covariances.double())
        kept = variance > variance.amax(dim=1, keepdim=True).clamp_min(0.0) * _NO_VARIANCE
        self.axes = (vectors * torch.where(kept, variance, 0.0).sqrt()[:, None])[:, :, kept.any(dim=0)]
        self.identity = torch.eye(self.axes.shape[2], dtype=torch.float64)

    def value(self, t: torch.Tensor) -> torch.Tensor:
        """Return the penalties [N]."""
        return 0.5 * t.square().sum(dim=-1)

    def gradient(self, t: torch.Tensor) -> torch.Tensor:
        """Return the gradients [N, r]."""
        return t

    def hessian(self, t: torch.Tensor) -> torch.Tensor:  # noqa: ARG002 - the signature of `SimplexPenalty`
        """Return the Hessian [r, r], which is the same for all problems."""
        return self.identity


class SimplexPenalty:
    """Penalty on the simplex: concentration * KL(mean || w) for w = mean + axes t.

    The axes are an orthonormal basis of {v : sum v = 0}, so that the weights always sum to 1.
    """

    def __init__(self, mean: torch.Tensor, concentration: float) -> None:
        # A weight whose prior mean is exactly 0 could never grow; 1e-6 is too small to change a ranking.
        mean = mean.double().clamp_min(1e-6)
        self.means: torch.Tensor = mean[None] / mean.sum()
        self.scale = concentration
        rank = len(mean)
        ones = torch.full((rank, 1), rank**-0.5, dtype=torch.float64)
        units = torch.eye(rank, dtype=torch.float64)[:, : rank - 1]
        # The first column of Q is parallel to (1, ..., 1); the others are the axes.
        self.axes: torch.Tensor = torch.linalg.qr(torch.cat([ones, units], dim=1)).Q[None, :, 1:]

    def _weights(self, t: torch.Tensor) -> torch.Tensor:
        return torch.add(self.means, t @ self.axes[0].t())

    def value(self, t: torch.Tensor) -> torch.Tensor:
        """Return the penalties [N], infinite outside the simplex."""
        weights = self._weights(t)
        inside = (weights > 0).all(dim=-1)
        kl = (self.means * (self.means / weights.clamp_min(1e-300)).log()).sum(dim=-1)
        return torch.where(inside, self.scale * kl, torch.inf)

    def gradient(self, t: torch.Tensor) -> torch.Tensor:
        """Return the gradients [N, r]."""
        pull = self.means / self._weights(t)
        return torch.mul(pull @ self.axes[0], -self.scale)

    def hessian(self, t: torch.Tensor) -> torch.Tensor:
        """Return the Hessians [N, r, r]."""
        curvature = self.scale * self.means / self._weights(t).square()
        return torch.einsum("kr,nk,ks->nrs", self.axes[0], curvature, self.axes[0])


@dataclass(frozen=True, eq=False)
class Problem:
    """N negative log posteriors, one per user and mixture component, as functions of the coordinates t [N, r]."""

    features: torch.Tensor
    """float64 [N, m, r]: the derivative of each comparison's log-odds with respect to t"""
    offset: torch.Tensor
    """float64 [N, m]: the log-odds at t = 0"""
    count: torch.Tensor
    """float64 [N, m]: the weight of each comparison; 0 pads users with fewer than m comparisons"""
    penalty: GaussianPenalty | SimplexPenalty
    """the negative log prior"""

    def log_odds(self, t: torch.Tensor) -> torch.Tensor:
        """Return the log-odds of each comparison [N, m], an argument of `value` and `derivatives`."""
        return torch.baddbmm(self.offset[..., None], self.features, t[..., None])[..., 0]

    def value(self, t: torch.Tensor, log_odds: torch.Tensor) -> torch.Tensor:
        """Return the negative log posteriors [N]."""
        return self.penalty.value(t) - (self.count * torch.nn.functional.logsigmoid(log_odds)).sum(dim=1)

    def derivatives(self, t: torch.Tensor, log_odds: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the gradients [N, r] and the Hessians [N, r, r]."""
        wrong = torch.sigmoid(-log_odds)
        slope = self.count * wrong
        gradient = self.penalty.gradient(t) - (slope[:, None] @ self.features)[:, 0]
        scaled = self.features * (slope * (1 - wrong))[..., None]
        return gradient, self.penalty.hessian(t) + scaled.mT @ self.features

    def minimise(self, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Minimise from the starting points t [N, r].

        Return the minimisers [N, r], and the values [N] and Hessians [N, r, r] there. The step of each problem is
        halved until it satisfies Armijo's rule.
        """
        log_odds = self.log_odds(t)
        value = self.value(t, log_odds)
        gradient, hessian = self.derivatives(t, log_odds)
        for _ in range(_NEWTON_STEPS if t.numel() else 0):
            step = torch.linalg.solve(hessian, gradient)
            decrement = (gradient * step).sum(dim=1)
            going = decrement >= 2 * _TOLERANCE
            n, n_going = t.shape[0], int(torch.count_nonzero(going))
            if n_going == 0:
                break
            if n - n_going > max(n_going, _MIN_DROPPED):
                # Some problems need twice as many steps as most: they continue in a smaller batch.
                rest = Problem(self.features[going], self.offset[going], self.count[going], self.penalty)
                found = zip((t, value, hessian), rest.minimise(t[going]), strict=True)
                t, value, hessian = (of_all.index_put((going,), of_rest) for of_all, of_rest in found)
                break
            # The slack of 1e-13 accepts the steps of converged problems, which change the value only by rounding.
            limit = value + 1e-13 * (1 + value.abs())
            for _ in range(_HALVINGS):
                new = t - step
                new_log_odds = self.log_odds(new)
                new_value = self.value(new, new_log_odds)
                short = new_value > limit - 1e-4 * decrement  # Armijo's rule is violated
                if not bool(short.any()):
                    break
                length = torch.where(short, 0.5, 1.0).double()
                step, decrement = length[:, None] * step, length * decrement
            else:
                # Problems without an acceptable step keep their t.
                new = torch.where(short[:, None], t, new)
                new_log_odds = self.log_odds(new)
                new_value = torch.where(short, value, new_value)
            t, log_odds, value = new, new_log_odds, new_value
            gradient, hessian = self.derivatives(t, log_odds)
        return t, value, hessian
