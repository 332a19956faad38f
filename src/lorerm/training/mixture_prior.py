"""Empirical-Bayes prior over user weights: a Gaussian mixture fitted to the training users.

The first weight of a user belongs to the direction that all users share. It is called the user's reliability, because
it measures how consistently the user follows that direction.

Each user's log-likelihood is approximated by a quadratic function around the user's weights under an initial Gaussian
prior. The mixture is then fitted by expectation maximisation, with closed-form steps on K x K matrices and no further
pass over the comparisons (extreme deconvolution: Bovy, Hogg & Roweis 2011, arXiv 0905.2979). A mixture fitted to the
estimated weights themselves would be biased: estimates are shrunk towards the initial prior, and estimates for users
with few comparisons are mostly noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lorerm.model.posterior import Posterior, combine, solve
from lorerm.model.prior import Mixture

if TYPE_CHECKING:
    from lorerm.model.prior import WeightPrior

# On simulated users from five components, 8 components were no better than 4, and 2 a little worse.
MAX_COMPONENTS = 4
# Smallest average number of users per component. Smaller components would describe individual users: they would not
# generalise, and publishing them would disclose personal data.
USERS_PER_COMPONENT = 5
# Limits of expectation maximisation for each value of `thorough`: the largest number of steps, and the gain in mean log
# evidence per user (in nats) below which it stops. It takes many small steps if users have few comparisons.
_STEPS, _TOLERANCE = {False: 50, True: 200}, {False: 1e-4, True: 1e-5}


@dataclass(frozen=True, eq=False)
class Likelihoods:
    """Quadratic approximation of each user's log-likelihood: linear . w - 1/2 w . information w + constant."""

    information: torch.Tensor
    """float64 [M, K, K]"""
    linear: torch.Tensor
    """float64 [M, K]"""
    weights: torch.Tensor
    """float64 [M, K]: the weights around which each likelihood is expanded"""

    @classmethod
    def around(
        cls, projected: torch.Tensor, user: torch.Tensor, count: torch.Tensor, n_users: int, prior: WeightPrior
    ) -> Likelihoods:
        """Expand around the posterior modes under a prior; the arguments are as in `lorerm.model.posterior.solve`."""
        weights = solve(projected, user, count, n_users, prior).weights
        z, count = projected.double(), count.double()
        p = torch.sigmoid((z * weights[user]).sum(dim=1))
        rank = z.shape[1]
        outer = (z * (count * p * (1 - p))[:, None])[:, :, None] * z[:, None, :]
        information = outer.new_zeros(n_users, rank, rank).index_add_(0, user, outer)
        gradient = z.new_zeros(n_users, rank).index_add_(0, user, z * (count * (1 - p))[:, None])
        return cls(information, gradient + (information @ weights[:, :, None])[:, :, 0], weights)

    def thinned(self, most: int) -> Likelihoods:
        """Return the likelihoods of at most `most` users, at evenly spaced positions."""
        n_users = len(self.weights)
        if n_users <= most:
            return self
        rows = torch.linspace(0, n_users - 1, most).round().long()
        return Likelihoods(self.information[rows], self.linear[rows], self.weights[rows])

    def posterior(self, mixture: Mixture) -> tuple[torch.Tensor, Posterior, torch.Tensor]:
        """Compute the posterior of each user under each component of the mixture.

        Return

        - the probability of each component [M, C];
        - means [M, C, K] and covariances [M, C, K, K] of the weights under each component;
        - the log evidence of the whole mixture [M], up to a constant.
        """
        _, means, covariances = mixture
        information = self.information[:, None]
        pull = self.linear[:, None] - (information @ means[None, :, :, None])[..., 0]
        # This form does not invert the covariance of a component, which may be singular.
        system = torch.eye(means.shape[1], dtype=torch.float64) + information @ covariances
        inverse = torch.linalg.inv(system)
        covariance = covariances @ inverse
        step = (covariance @ pull[..., None])[..., 0]
        at_mean = torch.einsum("mk,ck->mc", self.linear, means) - 0.5 * torch.einsum(
            "ck,mkl,cl->mc", means, self.information, means
        )
        evidence = at_mean + 0.5 * (pull * step).sum(dim=2) - 0.5 * torch.linalg.slogdet(system).logabsdet
        evidence = evidence + mixture.shares.log()
        return torch.softmax(evidence, dim=1), Posterior(means + step, covariance), torch.logsumexp(evidence, dim=1)

    def weights_under(self, mixture: Mixture) -> torch.Tensor:
        """Return the posterior mean of each user's weights under a mixture prior: float64 [M, K]."""
        probability, components, _ = self.posterior(mixture)
        return combine(probability, *components).weights


def fit_mixture(
    likelihoods: Likelihoods, initial: WeightPrior, *, reliability_learnt: bool, thorough: bool = True
) -> Mixture:
    """Fit a mixture to the training users: maximum likelihood, with shrinkage of the covariances, from a k-means start.

    There are at most `MAX_COMPONENTS` components, and at most one per `USERS_PER_COMPONENT` users. They start with the
    covariance of `initial`, scaled down. If `reliability_learnt` is False, the reliability (the first weight) has the
    mean and variance of `initial` in all components and is independent of the other weights. If `thorough` is False, at
    most a quarter of the steps are made, which is enough to compare penalty strengths.
    """
    from sklearn.cluster import KMeans

    weights, (covariance,) = likelihoods.weights, initial.components.covariances
    n_users, rank = weights.shape
    n_components = min(MAX_COMPONENTS, max(1, n_users // USERS_PER_COMPONENT), len(torch.unique(weights, dim=0)))
    scaled = weights / weights.std(dim=0, unbiased=False).clamp_min(1e-12)
    label = torch.from_numpy(KMeans(n_components, n_init=5, random_state=0).fit_predict(scaled.numpy())).long()
    counts = torch.bincount(label, minlength=n_components)
    means = weights.new_zeros(n_components, rank).index_add_(0, label, weights) / counts[:, None]
    # A factor below 1, because weights vary less within components than over all users.
    mixture = Mixture(counts / n_users, means, 0.3 * covariance.repeat(n_components, 1, 1))
    last = -torch.inf
    for _ in range(_STEPS[thorough]):
        if not reliability_learnt:
            mixture = _with_fixed_reliability(initial, mixture)
        probability, components, evidence = likelihoods.posterior(mixture)
        if float(evidence.mean()) - last < _TOLERANCE[thorough]:
            break
        last = float(evidence.mean())
        mixture = _maximise(probability, components)
    return mixture if reliability_learnt else _with_fixed_reliability(initial, mixture)


def scale_mixture(mixture: Mixture, prior_scale: float, *, reliability_learnt: bool) -> Mixture:
    """Multiply the covariance of a mixture, both within and between components, by `prior_scale`; keep the mean.

    If `reliability_learnt` is False, the variance of the reliability (the first weight) is not multiplied.
    """
    mean, _ = mixture.moments()
    covariances = prior_scale * mixture.covariances
    if not reliability_learnt:
        covariances[:, 0, 0] = mixture.covariances[:, 0, 0]
    return Mixture(mixture.shares, mean + prior_scale**0.5 * (mixture.means - mean), covariances)


def _with_fixed_reliability(initial: WeightPrior, mixture: Mixture) -> Mixture:
    means, covariances = mixture.means.clone(), mixture.covariances.clone()
    means[:, 0] = initial.mean[0]
    covariances[:, 0, :] = covariances[:, :, 0] = initial.components.covariances[0, 0]
    return Mixture(mixture.shares, means, covariances)


def _maximise(probability: torch.Tensor, components: Posterior) -> Mixture:
    """Return the mixture after one maximisation step, given the users' posteriors under each component."""
    n_users, n_components = probability.shape
    rank = components.weights.shape[2]
    size = probability.sum(dim=0)
    means = torch.einsum("mc,mck->ck", probability, components.weights) / size.clamp_min(1e-12)[:, None]
    off = components.weights - means
    scatter = torch.einsum("mc,mck,mcl->ckl", probability, off, off)
    scatter = scatter + torch.einsum("mc,mckl->ckl", probability, components.covariance)
    # Shrinkage: as if each component had K + 1 additional users with the average covariance within components. It
    # prevents singular covariances of small components.
    more = rank + 1
    pooled = scatter.sum(dim=0) / n_users
    covariances = (scatter + more * pooled) / (size + more)[:, None, None]
    return Mixture((size + 1) / (n_users + n_components), means, covariances)
