"""Active learning: choose the pair of responses that a user compares next, and when to stop asking.

Let z = d . V be the difference between the embeddings of two responses, projected on the basis V [D, K]. A user with
weights w prefers the first response with log-odds a = z . w / s, where s is the temperature. Under the user's posterior
w ~ N(m, C) the log-odds are normal, with mean z . m / s and variance z . C z / s^2. Two quantities then need only
one-dimensional computations:

- The mutual information between the user's choice and w is H(E p) - E H(p), with p = sigmoid(a) and H the entropy of a
  choice with probability p (BALD: Houlsby et al. 2011, arXiv 1112.5745). Gauss-Hermite quadrature computes it.
- The posterior mode after the choice is m + step * C z, where the number `step` solves one scalar equation.

If the prior is a mixture, m and C are the mean and covariance of the user's whole posterior.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from lorerm.errors import ConfigError, ModelError
from lorerm.model.posterior import Posterior, solve
from lorerm.model.projected import ProjectedComparisons
from lorerm.model.user_weights import UserWeights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lorerm.model.parameters import ModelParameters

# Quadrature nodes. Information and probability are accurate to 2e-3 for log-odds with standard deviations up to 6.
_NODES = 64
# Number of times that an interval is halved: enough to reach the resolution of float64.
_BISECTIONS = 60
# Maximum number of elements of a block of the array [pairs, candidates], which is computed block by block (16 MB each).
_BLOCK_ELEMENTS = 2_000_000


class Question(NamedTuple):
    """A pair of responses to ask a user about."""

    first: int
    """index of one response among the candidates"""
    second: int
    """index of the other response"""
    information: float
    """mutual information between the user's choice and the user's weights, in nats; at most log 2"""
    probability: float
    """probability that the user prefers the first response"""
    change: float
    """probability that the user's choice changes the ranking of the candidates"""


def choose_question(
    model: ModelParameters,
    posterior: Posterior,
    embeddings: torch.Tensor,
    pairs: Sequence[tuple[int, int]] | None = None,
    *,
    stop_below: float,
    top: int | None = None,
) -> Question | None:
    """Return the most informative pair of candidates, or None if no pair is likely to change their ranking.

    `embeddings` [N, D] are those of the N candidates; `posterior` contains the mean [K] and the covariance [K, K] of
    the user's weights. The other arguments are described at `LowRankRewardModel.next_question`. The probability of a
    changed ranking considers the next choice only, not a series of choices.
    """
    indices = _as_indices(pairs, len(embeddings))
    if not len(indices):
        return None
    candidates = (embeddings.to(model.basis) @ model.basis).double() / model.temperature
    weights, covariance = posterior
    z = candidates[indices[:, 0]] - candidates[indices[:, 1]]
    mean, gain = z @ weights, z @ covariance
    variance = (gain * z).sum(dim=1).clamp_min(0)
    information, probability = information_of(mean, variance)
    change = _change(candidates, weights, gain, mean, variance, probability, top or len(candidates))
    if float(change.max()) < stop_below:
        return None
    best = int(information.argmax())
    first, second = indices[best].tolist()
    return Question(first, second, float(information[best]), float(probability[best]), float(change[best]))


def posterior_of(model: ModelParameters, user: UserWeights | str | None) -> Posterior:
    """Return the mean [K] and covariance [K, K] of one user's weights, or those of the prior if `user` is None.

    `user` is a user id of the model or a `UserWeights` with one user. Raises `UnknownUserError` if the model does not
    know the id, and `ModelError` if the weights have no covariance.
    """
    if user is None:
        empty = ProjectedComparisons.empty(model.basis.shape[1])
        found = solve(empty.projected, empty.user, empty.count, 1, model.prior, model.temperature)
        return Posterior(found.weights[0], found.covariance[0])
    if not isinstance(user, UserWeights):
        model.user_weights(user)  # raises a more helpful error for an unknown user than `select` does
        user = UserWeights.of(model).select([user])
    if len(user) != 1:
        raise ConfigError(
            f"`user` has {len(user)} users, not 1", "select one: users.select([user_id])", argument="user"
        )
    if user.covariance is None:
        raise ModelError(
            f"the weights of user {user.user_ids[0]!r} have no posterior covariance",
            "adapt the model to the user's comparisons with the default recipe",
            argument="user",
        )
    return Posterior(user.weights[0].double(), user.covariance[0].double())


def information_of(mean: torch.Tensor, variance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the information of each choice in nats, and the probability that the first response is chosen.

    The log-odds of the P choices are normal with `mean` and `variance`. All arrays are float64 [P].
    """
    nodes, weights = _quadrature()
    p = torch.sigmoid(mean[:, None] + variance.sqrt()[:, None] * nodes)
    probability = p @ weights
    information = _entropy(probability) - _entropy(p) @ weights
    return information.clamp_min(0), probability


def _entropy(p: torch.Tensor) -> torch.Tensor:
    return torch.add(torch.special.xlogy(p, p), torch.special.xlogy(1 - p, 1 - p)).neg()


@cache
def _quadrature() -> tuple[torch.Tensor, torch.Tensor]:
    """Return the nodes and weights of Gauss-Hermite quadrature for the standard normal density."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    return torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())


def _as_indices(pairs: Sequence[tuple[int, int]] | None, n: int) -> torch.Tensor:
    """Return the pairs of candidates as int64 [P, 2]; None gives all pairs."""
    if pairs is None:
        return torch.combinations(torch.arange(n), 2)
    indices = torch.as_tensor(np.asarray(pairs, dtype=np.int64).reshape(-1, 2))
    invalid = ((indices < 0) | (indices >= n)).any(dim=1) | (indices[:, 0] == indices[:, 1])
    if bool(invalid.any()):
        bad = int(invalid.nonzero()[0])
        raise ConfigError(
            f"pairs[{bad}] is {tuple(indices[bad].tolist())}",
            f"give two different indices from 0 to {n - 1}",
            argument="pairs",
        )
    return indices


def _change(
    candidates: torch.Tensor,
    weights: torch.Tensor,
    gain: torch.Tensor,
    mean: torch.Tensor,
    variance: torch.Tensor,
    probability: torch.Tensor,
    top: int,
) -> torch.Tensor:
    """Return for each pair the probability that the user's choice changes the order of the best `top`: float64 [P]."""
    rewards = candidates @ weights
    order = rewards.argsort(descending=True, stable=True)[:top]
    total = torch.zeros_like(mean)
    # The user chooses the first response (sign 1) or the second (sign -1).
    for sign, p in ((1.0, probability), (-1.0, 1 - probability)):
        step = sign * _step(sign * mean, variance)
        for block in torch.split(torch.arange(len(mean)), max(1, _BLOCK_ELEMENTS // len(candidates))):
            moved = rewards + step[block, None] * (gain[block] @ candidates.t())
            after = moved.argsort(dim=1, descending=True, stable=True)[:, :top]
            total[block] += p[block] * (after != order).any(dim=1)
    return total


def _step(mean: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
    """Return sigmoid(-a), where a is the mode of the log-odds after the first response was chosen.

    The mode is the solution of a = mean + variance * sigmoid(-a).
    """
    low, high = mean, mean + variance
    for _ in range(_BISECTIONS):  # the right side decreases in a: there is one solution
        middle = (low + high) / 2
        above = mean + variance * torch.sigmoid(-middle) > middle
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return torch.sigmoid(-(low + high) / 2)
