"""Newton's method on one small convex problem per user and kind of people, in batches: minima for `posterior`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from lorerm.model.posterior import Mixture

# A Newton decrement (squared, halved: an estimate of the distance to the minimum in nats) below this is converged.
_TOLERANCE = 1e-12
# Margins of a thousand nats with contradicting answers take about a hundred steps; the usual ones take six.
_NEWTON_STEPS = 200
_HALVINGS = 40
# Problems that have converged are left out when they are more than the others, and more than this.
_WORTH_A_COPY = 256


class GaussianPenalty:
    """1/2 |t|^2 for w = mean + axes t, the axes of each of C kinds of people scaled by how much it spreads along them.

    Axes without any spread are left out, and 0 in a kind that lacks what another one has.
    """

    def __init__(self, kinds: Mixture) -> None:
        self.means = kinds.means.double()
        variance, vectors = torch.linalg.eigh(kinds.covariances.double())
        kept = variance > variance.amax(dim=1, keepdim=True).clamp_min(0.0) * 1e-12
        self.axes = (vectors * torch.where(kept, variance, 0.0).sqrt()[:, None])[:, :, kept.any(dim=0)]
        self.identity = torch.eye(self.axes.shape[2], dtype=torch.float64)

    def value(self, t: torch.Tensor) -> torch.Tensor:
        """Return [N]."""
        return 0.5 * t.square().sum(dim=-1)

    def gradient(self, t: torch.Tensor) -> torch.Tensor:
        """Return [N, r]."""
        return t

    def hessian(self, t: torch.Tensor) -> torch.Tensor:  # noqa: ARG002 - as the other's
        """Return [r, r], the same everywhere."""
        return self.identity


class SimplexPenalty:
    """concentration * KL(mean || w) for w = mean + axes t, the axes an orthonormal basis of what sums to 0; C is 1."""

    def __init__(self, mean: torch.Tensor, concentration: float) -> None:
        # A weight of exactly 0 could never grow again; 1e-6 is below anything that changes a ranking.
        mean = mean.double().clamp_min(1e-6)
        self.means: torch.Tensor = mean[None] / mean.sum()
        self.scale = concentration
        rank = len(mean)
        ones = torch.full((rank, 1), rank**-0.5, dtype=torch.float64)
        units = torch.eye(rank, dtype=torch.float64)[:, : rank - 1]
        self.axes: torch.Tensor = torch.linalg.qr(torch.cat([ones, units], dim=1)).Q[None, :, 1:]

    def _weights(self, t: torch.Tensor) -> torch.Tensor:
        return torch.add(self.means, t @ self.axes[0].t())

    def value(self, t: torch.Tensor) -> torch.Tensor:
        """Return [N]."""
        weights = self._weights(t)
        inside = (weights > 0).all(dim=-1)
        kl = (self.means * (self.means / weights.clamp_min(1e-300)).log()).sum(dim=-1)
        return torch.where(inside, self.scale * kl, torch.inf)

    def gradient(self, t: torch.Tensor) -> torch.Tensor:
        """Return [N, r]."""
        pull = self.means / self._weights(t)
        return torch.mul(pull @ self.axes[0], -self.scale)

    def hessian(self, t: torch.Tensor) -> torch.Tensor:
        """Return [N, r, r]."""
        curvature = self.scale * self.means / self._weights(t).square()
        return torch.einsum("kr,nk,ks->nrs", self.axes[0], curvature, self.axes[0])


class Problem:
    """The objectives of N users, each under one kind of people, in the coordinates t [N, r] of w = mean + axes t.

    Parameters
    ----------
    features
        Float64 [N, m, r]: what t changes in the log-odds of each of a user's pairs.
    offset
        Float64 [N, m]: the log-odds at t = 0.
    count
        Float64 [N, m]: how many judgements each pair stands for; 0 fills up those who have fewer pairs.
    penalty
        The prior's.
    """

    def __init__(
        self,
        features: torch.Tensor,
        offset: torch.Tensor,
        count: torch.Tensor,
        penalty: GaussianPenalty | SimplexPenalty,
    ) -> None:
        self.features, self.offset, self.count, self.penalty = features, offset, count, penalty

    def margin(self, t: torch.Tensor) -> torch.Tensor:
        """Return each pair's log-odds [N, m]: what the next two need of t, and so computed once for both."""
        return torch.baddbmm(self.offset[..., None], self.features, t[..., None])[..., 0]

    def value(self, t: torch.Tensor, margin: torch.Tensor) -> torch.Tensor:
        """Return [N]."""
        return self.penalty.value(t) - (self.count * torch.nn.functional.logsigmoid(margin)).sum(dim=1)

    def derivatives(self, t: torch.Tensor, margin: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the gradient [N, r] and the Hessian [N, r, r]."""
        wrong = torch.sigmoid(-margin)
        slope = self.count * wrong
        gradient = self.penalty.gradient(t) - (slope[:, None] @ self.features)[:, 0]
        scaled = self.features * (slope * (1 - wrong))[..., None]
        return gradient, self.penalty.hessian(t) + scaled.mT @ self.features

    def minimise(self, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Newton's method from t, with halved steps where a full one does not descend; users and kinds are independent.

        Return the minimum t, its value, and the Hessian there.
        """
        margin = self.margin(t)
        value = self.value(t, margin)
        gradient, hessian = self.derivatives(t, margin)
        for _ in range(_NEWTON_STEPS if t.numel() else 0):
            step = torch.linalg.solve(hessian, gradient)
            decrement = (gradient * step).sum(dim=1)
            going = decrement >= 2 * _TOLERANCE
            n, n_going = t.shape[0], int(torch.count_nonzero(going))
            if n_going == 0:
                break
            if n - n_going > max(n_going, _WORTH_A_COPY):
                # Some need twice as many steps as most: the others do not wait for them.
                rest = Problem(self.features[going], self.offset[going], self.count[going], self.penalty)
                found = zip((t, value, hessian), rest.minimise(t[going]), strict=True)
                t, value, hessian = (of_all.index_put((going,), of_rest) for of_all, of_rest in found)
                break
            # The slack lets users who have converged keep their step within rounding.
            ceiling = value + 1e-13 * (1 + value.abs())
            for _ in range(_HALVINGS):
                new = t - step
                new_margin = self.margin(new)
                new_value = self.value(new, new_margin)
                short = new_value > ceiling - 1e-4 * decrement  # Armijo's rule
                if not bool(short.any()):
                    break
                length = torch.where(short, 0.5, 1.0).double()
                step, decrement = length[:, None] * step, length * decrement
            else:
                new = torch.where(short[:, None], t, new)
                new_margin = self.margin(new)
                new_value = torch.where(short, value, new_value)
            t, margin, value = new, new_margin, new_value
            gradient, hessian = self.derivatives(t, margin)
        return t, value, hessian
