"""What people are like before the first answer, learnt from those who have answered: Gaussians, one per kind.

Each user's likelihood is replaced by a quadratic around the weights that a first, rough prior gives; then the kinds are
a deconvolution by expectation-maximisation in closed form, on K x K matrices and without the pairs (extreme
deconvolution: Bovy, Hogg & Roweis 2011, arXiv 0905.2979). Weights fitted first and clustered then would not do: they
are drawn to the rough prior, and those of users with few answers are mostly noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lorerm.model.posterior import Posterior, combine, solve
from lorerm.model.prior import Mixture

if TYPE_CHECKING:
    from lorerm.model.prior import WeightPrior

# On planted mixtures of five tastes 8 were no better than 4, and 2 a little worse.
N_KINDS = 4
# On average: kinds of fewer would be their members' own, neither a guess about others nor a thing to publish.
USERS_PER_KIND = 5
# Steps at most, and the gain in the mean log evidence of a user, in nats, below which the kinds stay as they are: to
# compare strengths, and for good. Few answers make for many small steps.
_STEPS, _TOLERANCE = {False: 50, True: 200}, {False: 1e-4, True: 1e-5}


@dataclass(frozen=True, eq=False)
class Likelihoods:
    """Each user's log-likelihood as a quadratic in the weights: linear . w - 1/2 w . information w + constant.

    Parameters
    ----------
    information
        Float64 [M, K, K].
    linear
        Float64 [M, K].
    weights
        Float64 [M, K]: where the quadratics touch.
    """

    information: torch.Tensor
    linear: torch.Tensor
    weights: torch.Tensor

    @classmethod
    def around(
        cls, projected: torch.Tensor, user: torch.Tensor, count: torch.Tensor, n_users: int, prior: WeightPrior
    ) -> Likelihoods:
        """Expand around the weights under a prior; the arguments are those of `posterior.solve`."""
        weights = solve(projected, user, count, n_users, prior).weights
        z, count = projected.double(), count.double()
        chance = torch.sigmoid((z * weights[user]).sum(dim=1))
        rank = z.shape[1]
        outer = (z * (count * chance * (1 - chance))[:, None])[:, :, None] * z[:, None, :]
        information = outer.new_zeros(n_users, rank, rank).index_add_(0, user, outer)
        gradient = z.new_zeros(n_users, rank).index_add_(0, user, z * (count * (1 - chance))[:, None])
        return cls(information, gradient + (information @ weights[:, :, None])[:, :, 0], weights)

    def thinned(self, most: int) -> Likelihoods:
        """Return those of at most this many users, evenly spaced."""
        n_users = len(self.weights)
        if n_users <= most:
            return self
        rows = torch.linspace(0, n_users - 1, most).round().long()
        return Likelihoods(self.information[rows], self.linear[rows], self.weights[rows])

    def posterior(self, mixture: Mixture) -> tuple[torch.Tensor, Posterior, torch.Tensor]:
        """Return what each kind makes of each user.

        Returns
        -------
        tuple
            Probabilities of the kinds [M, C]; weights [M, C, K] and covariances [M, C, K, K] under each; the log
            evidence of all kinds together [M], up to a constant.
        """
        _, means, covariances = mixture
        information = self.information[:, None]
        pull = self.linear[:, None] - (information @ means[None, :, :, None])[..., 0]
        # No inverse of a kind's covariance: a kind may have no spread in some direction.
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
        """Return float64 [M, K]: the mean weights of every user."""
        probability, kinds, _ = self.posterior(mixture)
        return combine(probability, *kinds).weights


def find_kinds(
    likelihoods: Likelihoods, rough: WeightPrior, *, consistency_learnt: bool, thorough: bool = True
) -> Mixture:
    """Return the kinds of people that make the answers most likely, at most `N_KINDS` and fewer of few people.

    Parameters
    ----------
    likelihoods
        Those of the users who are known.
    rough
        The Gaussian that gives the covariances' size at the start.
    consistency_learnt
        Whether the first weight, how consistently a user follows the shared direction, takes part; otherwise it stays
        what `rough` says of it, the same for all kinds and whatever the other weights are.
    thorough
        False where strengths are compared: a quarter of the steps show which are good.
    """
    from sklearn.cluster import KMeans

    weights, covariance = likelihoods.weights, _covariance_of(rough)
    n_users, rank = weights.shape
    n_kinds = min(N_KINDS, max(1, n_users // USERS_PER_KIND), len(torch.unique(weights, dim=0)))
    scaled = weights / weights.std(dim=0, unbiased=False).clamp_min(1e-12)
    label = torch.from_numpy(KMeans(n_kinds, n_init=5, random_state=0).fit_predict(scaled.numpy())).long()
    counts = torch.bincount(label, minlength=n_kinds)
    means = weights.new_zeros(n_kinds, rank).index_add_(0, label, weights) / counts[:, None]
    # What differs within kinds is less than what differs over all of them.
    mixture = Mixture(counts / n_users, means, 0.3 * covariance.repeat(n_kinds, 1, 1))
    last = -torch.inf
    for _ in range(_STEPS[thorough]):
        if not consistency_learnt:
            mixture = _with_first_weight_of(rough, mixture)
        probability, kinds, evidence = likelihoods.posterior(mixture)
        if float(evidence.mean()) - last < _TOLERANCE[thorough]:
            break
        last = float(evidence.mean())
        mixture = _of_kinds(probability, kinds)
    return mixture if consistency_learnt else _with_first_weight_of(rough, mixture)


def spread_out(mixture: Mixture, factor: float, *, consistency_learnt: bool) -> Mixture:
    """Return the kinds with all variance between people, within kinds and between them, times a factor."""
    mean, _ = mixture.moments()
    covariances = factor * mixture.covariances
    if not consistency_learnt:
        covariances[:, 0, 0] = mixture.covariances[:, 0, 0]
    return Mixture(mixture.shares, mean + factor**0.5 * (mixture.means - mean), covariances)


def _with_first_weight_of(rough: WeightPrior, mixture: Mixture) -> Mixture:
    means, covariances, covariance = mixture.means.clone(), mixture.covariances.clone(), _covariance_of(rough)
    means[:, 0] = rough.mean[0]
    covariances[:, 0, :] = covariances[:, :, 0] = covariance[0]
    return Mixture(mixture.shares, means, covariances)


def _covariance_of(prior: WeightPrior) -> torch.Tensor:
    if prior.covariance is None:
        raise AssertionError
    return prior.covariance


def _of_kinds(probability: torch.Tensor, kinds: Posterior) -> Mixture:
    """Return the kinds that users who belong to them with these probabilities make up."""
    n_users, n_kinds = probability.shape
    rank = kinds.weights.shape[2]
    size = probability.sum(dim=0)
    means = torch.einsum("mc,mck->ck", probability, kinds.weights) / size.clamp_min(1e-12)[:, None]
    off = kinds.weights - means
    scatter = torch.einsum("mc,mck,mcl->ckl", probability, off, off)
    scatter = scatter + torch.einsum("mc,mckl->ckl", probability, kinds.covariance)
    # As if each kind had K + 1 more people, who differ as people of one kind do on average: kinds of few people stay
    # of a credible size.
    more = rank + 1
    pooled = scatter.sum(dim=0) / n_users
    covariances = (scatter + more * pooled) / (size + more)[:, None, None]
    return Mixture((size + 1) / (n_users + n_kinds), means, covariances)
