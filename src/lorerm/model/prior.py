"""Prior over user weights: what is assumed about a user before any of their comparisons is seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch

WeightSpace = Literal["free", "simplex"]
"""`free`: weights of either sign. `simplex`: positive weights that sum to 1, as published (arXiv 2504.14439)."""


class Mixture(NamedTuple):
    """Mixture of C Gaussians over the weights."""

    shares: torch.Tensor
    """float64 [C], summing to 1: the probability of each component"""
    means: torch.Tensor
    """float64 [C, K]"""
    covariances: torch.Tensor
    """float64 [C, K, K]"""

    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean [K] and the covariance [K, K] of the whole mixture."""
        mean = self.shares @ self.means
        off = self.means - mean
        within = torch.einsum("c,ckl->kl", self.shares, self.covariances)
        return mean, within + torch.einsum("c,ck,cl->kl", self.shares, off, off)


@dataclass(frozen=True, eq=False)
class WeightPrior:
    """Prior p(w) over the weights of a user: Gaussian, mixture of Gaussians, or a penalty on the simplex."""

    mean: torch.Tensor
    """float64 [K]: the population weights, which a user without comparisons gets"""
    covariance: torch.Tensor | None = None
    """float64 [K, K], only in `free` weight space: how the weights vary between users; an eigenvalue of 0 means that
    all users are equal along its eigenvector"""
    concentration: float | None = None
    """only in `simplex` weight space: kappa in the penalty kappa * KL(mean || w), in nats"""
    mixture: Mixture | None = None
    """the mixture whose moments are `mean` and `covariance`; None for a single Gaussian or in `simplex` weight space"""

    @classmethod
    def from_mixture(cls, mixture: Mixture) -> WeightPrior:
        """Return the prior of a mixture; a single component gives a Gaussian prior."""
        mean, covariance = mixture.moments()
        return cls(mean, covariance, mixture=mixture if len(mixture.shares) > 1 else None)

    @classmethod
    def fixed(cls, mean: torch.Tensor) -> WeightPrior:
        """Return a prior of variance 0: every user has the weights `mean`, whatever their comparisons."""
        return cls(mean=mean.double(), covariance=torch.zeros(len(mean), len(mean), dtype=torch.float64))

    @property
    def weight_space(self) -> WeightSpace:
        """`simplex` if there is a concentration, else `free`."""
        return "free" if self.concentration is None else "simplex"

    @property
    def components(self) -> Mixture:
        """The prior as a mixture; a single Gaussian is one component. Only for `free` weight space."""
        if self.mixture is not None:
            return self.mixture
        if self.covariance is None:
            raise AssertionError
        return Mixture(torch.ones(1, dtype=torch.float64), self.mean[None], self.covariance[None])
