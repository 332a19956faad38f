"""Which pair of responses to ask a person about next, and when to stop asking.

A pair with projected difference z has the log-odds a = z . w / s. Under the person's posterior w ~ N(m, C) these are
normal, with mean z . m / s and variance z . C z / s^2, so that everything about one answer is an integral over a line:

- the information that the answer gives about w is its mutual information with a, H(E p) - E H(p), p = sigmoid(a)
  (BALD: Houlsby et al. 2011, arXiv 1112.5745), by Gauss-Hermite quadrature;
- the weights after the answer move along C z, by the root of one scalar equation.

Where the prior tells kinds of people apart, m and C are the moments over the kinds.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from lorerm.errors import ConfigError, ModelError
from lorerm.model.posterior import Posterior, solve
from lorerm.model.projected import ProjectedAnswers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lorerm.model.reward_model import LowRankRewardModel
    from lorerm.model.user_weights import UserWeights

_NODES = 64
_BISECTIONS = 60
# Elements of the largest intermediate, [pairs, candidates]: pairs are looked at in blocks that keep it near 16 MB.
_BLOCK_ELEMENTS = 2_000_000


class Question(NamedTuple):
    """A pair to ask about."""

    first: int
    """the place of one response among the candidates"""
    second: int
    """the place of the other"""
    information: float
    """what the answer is expected to tell about the person's weights, in nats; at most log 2"""
    probability: float
    """that they prefer the first, as far as is known"""
    change: float
    """the probability that the answer changes the ranking of the candidates"""


def choose_question(
    model: LowRankRewardModel,
    posterior: Posterior,
    embeddings: torch.Tensor,
    pairs: Sequence[tuple[int, int]] | None = None,
    *,
    stop_below: float,
    top: int | None = None,
) -> Question | None:
    """Return the most informative pair, or None where no answer would be likely to change the ranking.

    Parameters
    ----------
    model
        Gives the basis and the temperature.
    posterior
        The person's weights [K] and covariance [K, K].
    embeddings
        [C, D], the candidates.
    pairs
        The pairs of candidates that may be asked about; None is all of them.
    stop_below
        Probability of a change of the ranking below which an answer is not worth asking for. One answer ahead is looked
        at, not several.
    top
        How many of the best candidates make up the ranking, in their order; None is all.
    """
    ends = _ends(pairs, len(embeddings))
    if not len(ends):
        return None
    candidates = (embeddings.to(model.basis) @ model.basis).double() / model.temperature
    weights, covariance = posterior
    z = candidates[ends[:, 0]] - candidates[ends[:, 1]]
    mean, gain = z @ weights, z @ covariance
    variance = (gain * z).sum(dim=1).clamp_min(0)
    information, probability = information_of(mean, variance)
    change = _change(candidates, weights, gain, mean, variance, probability, top or len(candidates))
    if float(change.max()) < stop_below:
        return None
    best = int(information.argmax())
    first, second = ends[best].tolist()
    return Question(first, second, float(information[best]), float(probability[best]), float(change[best]))


def posterior_of(model: LowRankRewardModel, user: UserWeights | str | None) -> Posterior:
    """Return weights [K] and covariance [K, K] of a user of the model, of one given, or of somebody unknown (None)."""
    if user is None:
        none = ProjectedAnswers.none(model.basis.shape[1])
        found = solve(none.projected, none.user, none.count, 1, model.prior, model.temperature)
        return Posterior(found.weights[0], found.covariance[0])
    if isinstance(user, str):
        model.user_weights(user)  # an unknown user is an error that says more than that of `select`
        user = model.users().select([user])
    if len(user) != 1:
        raise ConfigError(f"user has {len(user)} users", "give one: users.select([user_id])")
    if user.covariance is None:
        raise ModelError(
            f"the weights of user {user.user_ids[0]!r} have no posterior to ask by",
            "adapt the model to their answers with the default recipe",
        )
    return Posterior(user.weights[0].double(), user.covariance[0].double())


def information_of(mean: torch.Tensor, variance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the information in nats and the probability of the first, float64 [P], for log-odds N(mean, variance)."""
    nodes, weights = _quadrature()
    chance = torch.sigmoid(mean[:, None] + variance.sqrt()[:, None] * nodes)
    probability = chance @ weights
    information = _entropy(probability) - _entropy(chance) @ weights
    return information.clamp_min(0), probability


def _entropy(chance: torch.Tensor) -> torch.Tensor:
    yes, no = torch.special.xlogy(chance, chance), torch.special.xlogy(1 - chance, 1 - chance)
    return torch.add(yes, no).neg()


@cache
def _quadrature() -> tuple[torch.Tensor, torch.Tensor]:
    """Return nodes and weights for the standard normal."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    return torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())


def _ends(pairs: Sequence[tuple[int, int]] | None, n: int) -> torch.Tensor:
    """Return the pairs as int64 [P, 2]."""
    if pairs is None:
        return torch.combinations(torch.arange(n), 2)
    ends = torch.as_tensor(np.asarray(pairs, dtype=np.int64).reshape(-1, 2))
    outside = ((ends < 0) | (ends >= n)).any(dim=1) | (ends[:, 0] == ends[:, 1])
    if bool(outside.any()):
        bad = int(outside.nonzero()[0])
        raise ConfigError(
            f"pairs[{bad}] is {tuple(ends[bad].tolist())}", f"give two different places from 0 to {n - 1}"
        )
    return ends


def _change(
    candidates: torch.Tensor,
    weights: torch.Tensor,
    gain: torch.Tensor,
    mean: torch.Tensor,
    variance: torch.Tensor,
    probability: torch.Tensor,
    top: int,
) -> torch.Tensor:
    """Return float64 [P]: the probability that the answer to each pair changes the order of the best `top`."""
    rewards = candidates @ weights
    order = rewards.argsort(descending=True, stable=True)[:top]
    total = torch.zeros_like(mean)
    for sign, chance in ((1.0, probability), (-1.0, 1 - probability)):
        step = sign * _pull(sign * mean, variance)
        for block in torch.split(torch.arange(len(mean)), max(1, _BLOCK_ELEMENTS // len(candidates))):
            moved = rewards + step[block, None] * (gain[block] @ candidates.t())
            after = moved.argsort(dim=1, descending=True, stable=True)[:, :top]
            total[block] += chance[block] * (after != order).any(dim=1)
    return total


def _pull(mean: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
    """Return sigmoid(-a) at the mode a of the log-odds after a positive answer: a = mean + variance * sigmoid(-a)."""
    low, high = mean, mean + variance
    for _ in range(_BISECTIONS):  # bisection: the right side falls as a grows
        middle = (low + high) / 2
        above = mean + variance * torch.sigmoid(-middle) > middle
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return torch.sigmoid(-(low + high) / 2)
