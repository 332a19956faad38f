"""Baselines of `quality.py` and `people.py`: other methods of personal rewards, in our own implementation.

Each takes the training comparisons of seen users and the few-shot comparisons of unseen users, and returns a function
that maps comparisons to reward differences, in log-odds. Settings are selected by the log loss on held-out prompts
among the training comparisons, as in the default recipe.

- `per_user`: a ridge logistic regression for each user alone.
- `signed_factors`: rewards a_u . B x with signed factors, both under an L2 penalty, from an SVD start, as in PReF
  (Shenfeld et al. 2025, arXiv 2503.06358). The factors of an unseen user are fitted by regularised logistic regression.
- `ideal_points`: rewards -|F x - F z_u|^2, where z_u is a mixture of prototypes that all users share, as in PAL (Chen
  et al. 2024, arXiv 2406.08469). The mixture of an unseen user is fitted while all other parameters are fixed.
- `response_means`: the share of comparisons in which a response was chosen, the same for all users.
- `neighbours`: collaborative filtering. The reward of a response is its mean plus the deviations of the users who
  compare most similarly (Herlocker et al. 1999, doi 10.1145/312624.312682).

The last two know responses, not embeddings: to a response without training comparisons they give the reward 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.optimize import minimize, minimize_scalar

from lorerm.data.splits import Splits, split
from lorerm.model.posterior import solve
from lorerm.model.prior import WeightPrior
from lorerm.threads import torch_on_one_thread
from lorerm.training.objective import logistic_loss, negative_log_likelihood
from lorerm.training.pairs import PackedPairs
from lorerm.training.regularized import feature_scale

if TYPE_CHECKING:
    from lorerm import EmbeddedPreferences

    # Function that maps comparisons, whose users it knows, to reward differences [n].
    Scorer = Callable[[EmbeddedPreferences], torch.Tensor]

STRENGTHS = tuple(10.0**-power for power in range(2, 7))
STEPS = 200
NEIGHBOURS = (5, 20, 80)
# Comparisons that are added to those of a response: they were won and lost equally often.
SMOOTHING = 5


def ends(data: EmbeddedPreferences) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the embeddings of the chosen and of the rejected responses, each float32 [n, D]."""
    responses = torch.as_tensor(np.asarray(data.responses)).float()
    chosen, rejected = (torch.from_numpy(rows) for rows in data.rows())
    return responses[chosen], responses[rejected]


def thetas(data: EmbeddedPreferences, theta_of: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return reward differences [n]; `theta_of` maps each user to a reward direction [D]."""
    users, user = data.index_users()
    chosen, rejected = ends(data)
    return ((chosen - rejected) * torch.stack([theta_of[name] for name in users])[user]).sum(dim=1)


def log_loss(data: EmbeddedPreferences, margins: torch.Tensor) -> float:
    """Return the mean over users of their mean log loss, given reward differences [n]."""
    _, user = data.index_users()
    loss = np.bincount(user, torch.nn.functional.softplus(-margins.double()).numpy())
    return float((loss / np.bincount(user)).mean())


def hold_out(train: EmbeddedPreferences) -> Splits[EmbeddedPreferences]:
    """Hold out a fifth of the prompts of the training comparisons, for all users."""
    return split(train, 0, 0.2, max_pairs_seen=None)


def best(fit: Callable[[EmbeddedPreferences, float], Scorer], train: EmbeddedPreferences) -> float:
    """Return the strength with the lowest log loss on held-out prompts of the training pairs."""
    splits = hold_out(train)
    return min(
        STRENGTHS, key=lambda strength: log_loss(splits.test_seen, fit(splits.train_seen, strength)(splits.test_seen))
    )


def per_user(train: EmbeddedPreferences, shots: EmbeddedPreferences) -> Scorer:
    """Fit a ridge logistic regression to each user alone."""

    def fit(data: EmbeddedPreferences, strength: float) -> Scorer:
        pairs = PackedPairs.pack(data, differences=True)
        scale = feature_scale(pairs)
        x = pairs.matrix * scale
        bounds = np.searchsorted(pairs.user.numpy(), np.arange(pairs.n_users + 1))
        theta_of = {
            name: scale * _ridge(x[first:last].numpy(), strength * len(x) / (last - first))
            for name, first, last in zip(pairs.user_ids, bounds[:-1], bounds[1:], strict=True)
        }
        return lambda scored: thetas(scored, theta_of)

    strength = best(fit, train)
    seen, unseen = fit(train, strength), fit(shots, strength * len(train) / len(shots)) if len(shots) else None
    known = set(train.index_users()[0])
    return lambda data: (seen if data.index_users()[0][0] in known else unseen)(data)  # type: ignore[misc]


def signed_factors(train: EmbeddedPreferences, shots: EmbeddedPreferences, rank: int) -> Scorer:
    """Fit signed factors under an L2 penalty, from an SVD start."""

    def fit(data: EmbeddedPreferences, strength: float) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        pairs = PackedPairs.pack(data)
        scale = feature_scale(pairs)
        pairs = pairs.with_scale(scale)
        n_users, dimension, share = pairs.n_users, len(scale), 0.5 / len(pairs)
        weight = torch.full((len(pairs),), 1 / len(pairs))
        # PReF takes the SVD of a table of users by comparisons. If users compare different responses, the table is
        # nearly empty. Here the SVD is of the matrix of the users' mean embedding differences.
        left, size, right = torch.linalg.svd(pairs.pull_back_by_user(weight), full_matrices=False)
        size = (size[:rank] * len(pairs)).sqrt()
        start = torch.cat([(right[:rank] * size[:, None]).flatten(), (left[:, :rank] * size).flatten()])

        def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
            flat = torch.from_numpy(x).float()
            b = flat[: rank * dimension].view(rank, dimension)
            a = flat[rank * dimension :].view(n_users, rank)
            data_term = negative_log_likelihood(pairs, b, a, weight)
            loss = data_term.loss + strength * b.square().sum() + share * a.square().sum()
            slope = [data_term.basis + 2 * strength * b, data_term.weights + 2 * share * a]
            return float(loss), torch.cat([part.flatten() for part in slope]).double().numpy()

        with torch_on_one_thread():
            found = torch.from_numpy(
                minimize(
                    objective,
                    start.double().numpy(),
                    jac=True,
                    method="L-BFGS-B",
                    options={"maxiter": STEPS, "ftol": 1e-6},
                ).x
            ).float()
        basis = found[: rank * dimension].view(rank, dimension) * scale
        factors = found[rank * dimension :].view(n_users, rank)
        return basis, factors, dict(zip(pairs.user_ids, factors @ basis, strict=True))

    def scorer(data: EmbeddedPreferences, strength: float) -> Scorer:
        theta_of = fit(data, strength)[2]
        return lambda scored: thetas(scored, theta_of)

    basis, _, theta_of = fit(train, best(scorer, train))
    if len(shots):
        few = PackedPairs.pack(shots)
        prior = WeightPrior(torch.zeros(rank), torch.eye(rank))
        factors = solve(few.project(basis), few.user, few.count, few.n_users, prior).weights.float()
        theta_of |= dict(zip(few.user_ids, factors @ basis, strict=True))
    return lambda data: thetas(data, theta_of)


def ideal_points(train: EmbeddedPreferences, shots: EmbeddedPreferences, rank: int, steps: int = 300) -> Scorer:
    """Fit a map to `rank` dimensions and `rank` prototypes by Adam, with as many steps as held-out prompts select."""
    scale = feature_scale(PackedPairs.pack(train))
    responses = torch.as_tensor(np.asarray(train.responses)).float() * scale

    def margins(data: EmbeddedPreferences, into: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        """Return reward differences [n], given each comparison's ideal point [n, rank]."""
        mapped = responses @ into
        rewards = (-(mapped[torch.from_numpy(rows)] - points).square().sum(dim=1) for rows in data.rows())
        return next(rewards) - next(rewards)

    def fit(data: EmbeddedPreferences, steps: int, held: EmbeddedPreferences | None) -> tuple[int, list[torch.Tensor]]:
        users, user = data.index_users()
        generator = torch.Generator().manual_seed(0)
        into = torch.randn(len(scale), rank, generator=generator).requires_grad_()
        prototypes = torch.randn(rank, rank, generator=generator).requires_grad_()
        logits = (0.1 * torch.randn(len(users), rank, generator=generator)).requires_grad_()
        optimiser = torch.optim.Adam([into, prototypes, logits], lr=0.03)
        place, least = torch.from_numpy(user), (float("inf"), 0)
        for step in range(1, steps + 1):
            optimiser.zero_grad()
            points = (logits.softmax(dim=1) @ prototypes)[place]
            torch.nn.functional.softplus(-margins(data, into, points)).mean().backward()
            optimiser.step()
            if held is not None and step % 20 == 0:
                point_of = dict(zip(users, (logits.softmax(dim=1) @ prototypes).detach(), strict=True))
                least = min(least, (log_loss(held, score(held, into.detach(), point_of)), step))
        return least[1], [into.detach(), prototypes.detach(), logits.detach()]

    def score(data: EmbeddedPreferences, into: torch.Tensor, point_of: dict[str, torch.Tensor]) -> torch.Tensor:
        users, user = data.index_users()
        return margins(data, into, torch.stack([point_of[name] for name in users])[user])

    splits = hold_out(train)
    stop, _ = fit(splits.train_seen, steps, splits.test_seen)
    _, (into, prototypes, logits) = fit(train, stop, None)
    point_of = dict(zip(train.index_users()[0], logits.softmax(dim=1) @ prototypes, strict=True))
    if len(shots):
        # With c the chosen and r the rejected embedding, the reward difference is linear in the ideal point z:
        # |F r|^2 - |F c|^2 + 2 z . (F c - F r).
        users, user = shots.index_users()
        chosen, rejected = ((responses @ into)[torch.from_numpy(rows)] for rows in shots.rows())
        offset = rejected.square().sum(dim=1) - chosen.square().sum(dim=1)
        linear = 2 * (chosen - rejected) @ prototypes.t()
        new = torch.zeros(len(users), rank).requires_grad_()
        optimiser = torch.optim.Adam([new], lr=0.1)
        place, weight = torch.from_numpy(user), torch.ones(len(user))
        for _ in range(500):
            optimiser.zero_grad()
            mixture = new.softmax(dim=1)
            # A weak penalty on the distance to the mean of the seen users: without it, a mixture fitted to few
            # comparisons goes to a corner of the simplex.
            pull = (mixture - logits.softmax(dim=1).mean(dim=0)).square().sum()
            (logistic_loss(linear, mixture[place], weight, 1.0, offset)[0] + pull).backward()
            optimiser.step()
        point_of |= dict(zip(users, (new.softmax(dim=1) @ prototypes).detach(), strict=True))
    return lambda data: score(data, into, point_of)


def response_means(train: EmbeddedPreferences, shots: EmbeddedPreferences) -> Scorer:  # noqa: ARG001
    """Reward each response by the share of training comparisons in which it was chosen."""

    def fit(data: EmbeddedPreferences) -> Scorer:
        deviation, _ = _wins(data)
        rewards = deviation.sum(dim=0) / (_count(data).sum(dim=0) + SMOOTHING)
        return lambda scored: _between(rewards[None], scored, np.zeros(len(scored), dtype=int))

    splits = hold_out(train)
    scale = _scale(splits.test_seen, fit(splits.train_seen)(splits.test_seen))
    scorer = fit(train)
    return lambda data: scale * scorer(data)


def neighbours(train: EmbeddedPreferences, shots: EmbeddedPreferences) -> Scorer:
    """Reward each response by its mean plus the deviations of the seen users who compare most similarly."""

    def fit(data: EmbeddedPreferences, few: EmbeddedPreferences, k: int) -> Scorer:
        wins, users = _wins(data)
        count = _count(data)
        mean = wins.sum(dim=0) / (count.sum(dim=0) + SMOOTHING)
        seen = (wins - mean * count) / (count + 1)
        queries, names = seen, list(users)
        if len(few):
            few_wins, few_users = _wins(few)
            few_count = _count(few)
            queries = torch.cat([seen, (few_wins - mean * few_count) / (few_count + 1)])
            names += few_users
        unit = queries / queries.norm(dim=1, keepdim=True).clamp_min(1e-12)
        similarity = unit @ unit[: len(users)].t()  # a seen user is their own nearest neighbour
        kth = similarity.topk(min(k, len(users)), dim=1).values[:, -1:]
        similarity = torch.where(similarity >= kth, similarity.clamp_min(0), torch.zeros(()))
        judged = similarity @ (count > 0).float()
        rewards = mean + similarity @ seen / (judged + 1)
        row_of = {name: row for row, name in enumerate(names)}

        def score(scored: EmbeddedPreferences) -> torch.Tensor:
            scored_users, user = scored.index_users()
            return _between(rewards, scored, np.array([row_of[name] for name in scored_users])[user])

        return score

    splits = hold_out(train)
    nobody = shots.select(np.zeros(0, dtype=int))
    found = []
    for k in NEIGHBOURS:
        margins = fit(splits.train_seen, nobody, k)(splits.test_seen)
        scale = _scale(splits.test_seen, margins)
        found.append((log_loss(splits.test_seen, scale * margins), k, scale))
    _, k, scale = min(found)
    scorer = fit(train, shots, k)
    return lambda data: scale * scorer(data)


def _wins(data: EmbeddedPreferences) -> tuple[torch.Tensor, tuple[str, ...]]:
    """Return how often each user chose a response minus how often they rejected it [N, R], and the users."""
    users, user = data.index_users()
    chosen, rejected = data.rows()
    table = np.zeros((len(users), len(data.responses)), dtype=np.float32)
    np.add.at(table, (user, chosen), 1)
    np.add.at(table, (user, rejected), -1)
    return torch.from_numpy(table), users


def _count(data: EmbeddedPreferences) -> torch.Tensor:
    """Return how often each user compared a response [N, R]."""
    users, user = data.index_users()
    table = np.zeros((len(users), len(data.responses)), dtype=np.float32)
    for rows in data.rows():
        np.add.at(table, (user, rows), 1)
    return torch.from_numpy(table)


def _between(rewards: torch.Tensor, data: EmbeddedPreferences, table_row: np.ndarray) -> torch.Tensor:
    """Return reward differences [n] from a table [M, R], whose row is given for each comparison."""
    row = torch.from_numpy(table_row)
    chosen, rejected = (rewards[row, torch.from_numpy(ends)] for ends in data.rows())
    return chosen - rejected


def _scale(data: EmbeddedPreferences, margins: torch.Tensor) -> float:
    """Return the factor on the reward differences with the lowest log loss."""
    found = minimize_scalar(lambda power: log_loss(data, margins * 10**power), bounds=(-3, 3), method="bounded")
    return float(10**found.x)


def _ridge(x: np.ndarray, strength: float) -> torch.Tensor:
    """Return the theta [D] that minimises mean_i -log sigmoid(x_i . theta) + strength |theta|^2, solved in the span."""
    # Kernel trick: theta = x^T c with n numbers c, which are fewer than the D numbers of theta.
    gram = x @ x.T
    n = len(x)

    def objective(c: np.ndarray) -> tuple[float, np.ndarray]:
        margin = gram @ c
        loss = np.logaddexp(0, -margin).mean() + strength * c @ margin
        return float(loss), gram @ (-1 / (1 + np.exp(margin)) / n + 2 * strength * c)

    found = minimize(objective, np.zeros(n), jac=True, method="L-BFGS-B", options={"maxiter": 100})
    return torch.from_numpy(x.T @ found.x).float()
