"""Upper bound on the accuracy of any method on a simulated population: the posterior mean of each user's direction.

If the distributions of directions, mixtures and comparisons are known, the posterior mean given the comparisons is the
best estimate on average. It is computed by Gibbs sampling, which alternates two steps:

- Given the mixtures, the directions are drawn from a normal distribution, after one Polya-Gamma variable was drawn for
  each comparison (Polson, Scott and Windle 2013, arXiv 1205.0310).
- Given the directions, each user's mixture is drawn, with probabilities proportional to the likelihood, from new draws
  of the prior and the mixture before (iterated sampling importance resampling: Andrieu, Doucet and Holenstein 2010, doi
  10.1111/j.1467-9868.2009.00736.x).

The chain starts at the true values, which are a draw from the posterior, so that it needs no burn-in to converge. If
the chain mixes slowly, the upper bound is too high, not too low.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from lorerm.training.pairs import PackedPairs
from populations import RANK

if TYPE_CHECKING:
    from populations import Population

# Length of the chain. The means are taken without its first third.
SWEEPS = 300
# Number of mixtures drawn from the prior at each sweep.
_DRAWS = 1000
# A Polya-Gamma variable is an infinite sum of exponential variables. This number of terms is drawn; for the remaining
# terms their mean is added.
_TERMS = 60
# Number of comparisons whose likelihoods under all mixtures are in memory at once.
_BLOCK = 2000


def posterior_thetas(population: Population, sweeps: int = SWEEPS) -> dict[str, torch.Tensor]:
    """Return the posterior mean direction [D] of every user, seen and unseen.

    The directions are inferred from the comparisons of all seen users, and each mixture from the comparisons of its
    user. The comparisons of unseen users are not used to infer directions, as in methods that adapt only the weights.
    """
    seen = PackedPairs.pack(population.splits.train_seen, differences=True)
    unseen = PackedPairs.pack(population.splits.train_unseen)
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    # In these coordinates, the prior of the directions is the standard normal distribution.
    coordinates = population.coordinates
    matrix = seen.matrix @ coordinates
    standard = coordinates.t() @ population.basis / coordinates.square().sum(dim=0)[:, None]
    mixtures = torch.stack([population.weights[user] for user in seen.user_ids]).float()
    precision = population.precision.float()
    mean_seen = torch.zeros(seen.n_users, len(coordinates))
    mean_unseen = torch.zeros(unseen.n_users, len(coordinates))
    for sweep in range(sweeps):
        _draw_basis(standard, matrix, mixtures[seen.user], precision, generator)
        basis = coordinates @ standard
        drawn = torch.from_numpy(population.signal.mixtures(_DRAWS, rng)).float()
        likelihood = _likelihood(seen, basis, drawn)
        if sweep >= sweeps // 3:
            mean_seen += torch.softmax(likelihood, dim=1) @ drawn @ basis.t()
            of_unseen = _likelihood(unseen, basis, drawn)
            mean_unseen += torch.softmax(of_unseen, dim=1) @ drawn @ basis.t()
        margin = ((seen.matrix @ basis) * mixtures[seen.user]).sum(dim=1)
        own = torch.zeros(seen.n_users).index_add_(0, seen.user, torch.nn.functional.logsigmoid(margin))
        chance = torch.softmax(torch.cat([likelihood, own[:, None]], dim=1), dim=1)
        chosen = torch.multinomial(chance, 1, generator=generator)[:, 0]
        mixtures = torch.where((chosen < _DRAWS)[:, None], drawn[chosen.clamp_max(_DRAWS - 1)], mixtures)
    means = torch.cat([mean_seen, mean_unseen]) / (sweeps - sweeps // 3)
    return dict(zip([*seen.user_ids, *unseen.user_ids], means, strict=True))


def _draw_basis(
    basis: torch.Tensor, matrix: torch.Tensor, own: torch.Tensor, precision: torch.Tensor, generator: torch.Generator
) -> None:
    """Draw the columns of `basis` [D, K] in turn, in place; `own` [n, K] has the mixture of each comparison's user."""
    projected = matrix @ basis
    tilt = _polya_gamma((projected * own).sum(dim=1), generator)
    for k in torch.randperm(RANK, generator=generator).tolist():
        mine = own[:, k]
        others = (projected * own).sum(dim=1) - projected[:, k] * mine
        system = matrix.t() @ (matrix * (tilt * mine.square())[:, None])
        system.diagonal().add_(precision[k, k])
        pull = matrix.t() @ (mine * (0.5 - tilt * others)) - basis @ precision[:, k] + basis[:, k] * precision[k, k]
        lower = torch.linalg.cholesky(system)
        noise = torch.linalg.solve_triangular(lower.t(), torch.randn(len(basis), 1, generator=generator), upper=True)
        basis[:, k] = (torch.cholesky_solve(pull[:, None], lower) + noise)[:, 0]
        projected[:, k] = matrix @ basis[:, k]


def _polya_gamma(margin: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draw a Polya-Gamma variable PG(1, margin) for each comparison [n]."""
    middle = torch.arange(1, _TERMS + 1) - 0.5
    exponential = torch.empty(len(margin), _TERMS).exponential_(generator=generator)
    terms = exponential / (middle.square() + margin[:, None].square() / (4 * np.pi**2))
    # The remaining terms of the sum of 1 / (k - 1/2)^2 over k >= 1, whose total is pi^2 / 2.
    tail = np.pi**2 / 2 - float((1 / middle.double().square()).sum())
    return (terms.sum(dim=1) + tail) / (2 * np.pi**2)


def _likelihood(pairs: PackedPairs, basis: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
    """Return the log-likelihood of each user's comparisons under each mixture [N, S]."""
    projected = pairs.project(basis.t().contiguous())
    found = torch.zeros(pairs.n_users, len(drawn))
    for block in torch.split(torch.arange(len(projected)), _BLOCK):
        found.index_add_(0, pairs.user[block], torch.nn.functional.logsigmoid(projected[block] @ drawn.t()))
    return found
