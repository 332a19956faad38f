"""The published recipes, step by step as published but without the loop over users (LoRe, arXiv 2504.14439).

Both start from the global generator after `torch.manual_seed(seed)`, in the documented order, drawn in float32;
everything is in the pairs' precision, float32 as published unless they were converted.
The data term is a *sum* over users of each user's mean (`paper`) or a mean over all pairs (`paper-cosine`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from lorerm.threads import torch_on_one_thread
from lorerm.training.objective import logistic_loss, negative_log_likelihood

if TYPE_CHECKING:
    from collections.abc import Callable

    from lorerm.training.pairs import PackedPairs

    Progress = Callable[[int, int], None]

TEMPERATURE = 100.0
JOINT_STEPS = {"paper": 1000, "paper-cosine": 20_000}
ALPHA = {"paper": 0.0, "paper-cosine": 1e4}
LEARNING_RATE = 0.5
FEW_SHOT_STEPS, FEW_SHOT_LEARNING_RATE = 500, 0.1
# Directions that no user gives at least this weight are dropped at the end of `paper-cosine`.
SMALLEST_WEIGHT = 0.01
# The regulariser of `paper-cosine` is ramped between these shares of the steps.
RAMP = 0.2, 0.8
_PROGRESS_EVERY = 50


def few_shot_constants(recipe: str) -> dict[str, Any]:
    """Return steps and learning rate of the published few-shot stage that goes with a recipe."""
    return {
        "steps": FEW_SHOT_STEPS,
        "learning_rate": LEARNING_RATE if recipe == "paper-cosine" else FEW_SHOT_LEARNING_RATE,
    }


class PaperFit(NamedTuple):
    """Directions [K, D] and simplex weights [N, K]."""

    basis: torch.Tensor
    weights: torch.Tensor


@torch_on_one_thread()
def fit_joint(
    pairs: PackedPairs,
    rank: int,
    *,
    steps: int,
    learning_rate: float = LEARNING_RATE,
    alpha: float = 0.0,
    reference: torch.Tensor | None = None,
    progress: Progress | None = None,
) -> PaperFit:
    """Fit basis and weights by one Adam over both (`paper`); `alpha` adds the l2 term, alpha * sum_k |V_k - v_ref|^2.

    Draws randn(N, K) for the logits of W, then randn(D, K) for V.
    """
    logits = torch.randn(pairs.n_users, rank).to(pairs.matrix.dtype)
    basis = torch.randn(pairs.matrix.shape[1], rank).t().contiguous().to(pairs.matrix.dtype)
    optimiser = torch.optim.Adam([logits, basis], lr=learning_rate)
    for step in range(steps):
        weights = logits.softmax(dim=1)
        data = negative_log_likelihood(pairs, basis, weights, pairs.weight, TEMPERATURE)
        logits.grad, basis.grad = _through_softmax(data.weights, weights), data.basis
        if alpha > 0 and reference is not None:
            basis.grad = basis.grad + 2 * alpha * (basis - reference)
        optimiser.step()
        _tell(progress, step, steps)
    return PaperFit(basis, logits.softmax(dim=1))


@torch_on_one_thread()
def fit_cosine(
    pairs: PackedPairs,
    rank: int,
    *,
    steps: int,
    learning_rate: float = LEARNING_RATE,
    alpha: float,
    reference: torch.Tensor,
    progress: Progress | None = None,
) -> PaperFit:
    """Fit by two Adams that take turns, the basis drawn toward the reference head's direction (`paper-cosine`).

    Draws rand(N, K) for the logits of W, then randn(D, K) for V. Columns whose largest weight over users is below 0.01
    are dropped at the end, without renormalising, so that fewer than `rank` can be left.
    """
    logits = torch.rand(pairs.n_users, rank).to(pairs.matrix.dtype)
    basis = torch.randn(pairs.matrix.shape[1], rank).t().contiguous().to(pairs.matrix.dtype)
    of_weights, of_basis = torch.optim.Adam([logits], lr=learning_rate), torch.optim.Adam([basis], lr=learning_rate)
    pair_weight = (pairs.count / pairs.count.sum()).to(pairs.matrix.dtype)
    for step in range(steps):
        # V does not move in the first half of a step, so that one product d . V serves both halves.
        projected = pairs.project(basis)
        weights = logits.softmax(dim=1)
        _, slope = logistic_loss(projected, weights.index_select(0, pairs.user), pair_weight, TEMPERATURE)
        logits.grad = _through_softmax(pairs.sum_by_user(projected * slope[:, None]), weights)
        of_weights.step()
        of_pair = logits.softmax(dim=1).index_select(0, pairs.user)
        _, slope = logistic_loss(projected, of_pair, pair_weight, TEMPERATURE)
        basis.grad = pairs.pull_back(of_pair * slope[:, None])
        strength = alpha * ramp(step, steps)
        if strength > 0:
            basis.grad = basis.grad + _cosine_gradient(basis, reference, strength)
        of_basis.step()
        _tell(progress, step, steps)
    weights = logits.softmax(dim=1)
    kept = weights.max(dim=0).values >= SMALLEST_WEIGHT
    return PaperFit(basis[kept], weights[:, kept])


@torch_on_one_thread()
def fit_few_shot(
    pairs: PackedPairs,
    basis: torch.Tensor,
    *,
    steps: int = FEW_SHOT_STEPS,
    learning_rate: float = FEW_SHOT_LEARNING_RATE,
    progress: Progress | None = None,
) -> torch.Tensor:
    """Return simplex weights [N, K] of new users, `basis` [K, D] fixed: one Adam from N successive draws randn(K)."""
    logits = torch.stack([torch.randn(len(basis)) for _ in range(pairs.n_users)]).to(basis.dtype)
    projected = pairs.project(basis)
    optimiser = torch.optim.Adam([logits], lr=learning_rate)
    for step in range(steps):
        weights = logits.softmax(dim=1)
        _, slope = logistic_loss(projected, weights.index_select(0, pairs.user), pairs.weight, TEMPERATURE)
        logits.grad = _through_softmax(pairs.sum_by_user(projected * slope[:, None]), weights)
        optimiser.step()
        _tell(progress, step, steps)
    return logits.softmax(dim=1)


def ramp(step: int, steps: int) -> float:
    """Return the share of alpha in force: 0 before 20% of the steps, 1 from 80% on, linear between."""
    start, full = (int(share * steps) for share in RAMP)
    if step < start:
        return 0.0
    return 1.0 if step >= full else (step - start) / (full - start)


def _through_softmax(gradient: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Turn a gradient by softmax(logits) into one by the logits."""
    return weights * (gradient - (gradient * weights).sum(dim=1, keepdim=True))


def _cosine_gradient(basis: torch.Tensor, reference: torch.Tensor, strength: float) -> torch.Tensor:
    """Return the gradient of strength * mean_k (1 - cos(V_k, reference)) by `basis` [K, D].

    By autograd on [D, K], as published: once the directions lie along the reference the gradient is all rounding, Adam
    scales that up to full steps, and a formula of our own would round differently.
    """
    with torch.enable_grad():
        columns = basis.t().contiguous().requires_grad_()
        distance = strength * (1 - torch.nn.functional.cosine_similarity(columns, reference[:, None], dim=0)).mean()
        (gradient,) = torch.autograd.grad(distance, columns)
    return gradient.t()


def _tell(progress: Progress | None, step: int, steps: int) -> None:
    if progress is not None and ((step + 1) % _PROGRESS_EVERY == 0 or step + 1 == steps):
        progress(step + 1, steps)
