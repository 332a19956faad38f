"""The data term of every recipe: value and gradient as one pure function (no autograd, no loop over users).

P(chosen > rejected | u) = sigmoid(d . V w_u / s); the loss is the mean over users of each user's mean negative
log-likelihood (LoRe, arXiv 2504.14439, section 3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from lorerm.threads import torch_on_one_thread

if TYPE_CHECKING:
    from lorerm.training.operators import Array, Coefficients
    from lorerm.training.pairs import PackedPairs


class LossGradient(NamedTuple):
    """A loss with its gradients.

    Parameters
    ----------
    loss
        Scalar tensor.
    basis
        [K, D], with respect to the directions as rows.
    weights
        [N, K].
    """

    loss: torch.Tensor
    basis: torch.Tensor
    weights: torch.Tensor


def negative_log_likelihood(
    pairs: PackedPairs,
    basis: torch.Tensor,
    weights: torch.Tensor,
    pair_weight: torch.Tensor,
    temperature: float = 1.0,
    offset: torch.Tensor | None = None,
) -> LossGradient:
    """Return sum_i pair_weight_i * -log sigmoid((d_i . V w_u(i) + offset_i) / s) and its gradients.

    Parameters
    ----------
    pairs
        The n pairs.
    basis
        [K, D]: V transposed, each reward direction a contiguous row.
    weights
        [N, K].
    pair_weight
        [n]; `pairs.weight / pairs.n_users` gives the mean over users.
    temperature
        s.
    offset
        [n]: rewards that stay as they are, None for 0.
    """
    if pairs.in_one_pass(basis):
        with torch_on_one_thread():
            of_pair = pairs.of_pairs(weights)
            coefficients = _coefficients(of_pair, pair_weight, temperature, offset)
            projected, of_basis = pairs.project_and_pull_back(basis, coefficients)
            loss, slope = logistic_loss(projected, of_pair, pair_weight, temperature, offset)
            return LossGradient(loss, of_basis, pairs.sum_by_user(projected * slope[:, None]))
    projected, of_pair = pairs.project(basis), pairs.of_pairs(weights)
    loss, slope = logistic_loss(projected, of_pair, pair_weight, temperature, offset)
    of_basis = pairs.pull_back(of_pair * slope[:, None])
    return LossGradient(loss, of_basis, pairs.sum_by_user(projected * slope[:, None]))


def logistic_loss(
    projected: torch.Tensor,
    of_pair: torch.Tensor,
    pair_weight: torch.Tensor,
    temperature: float,
    offset: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weighted loss (scalar) and its derivative by each pair's reward difference ([n]).

    `projected` is d . V and `of_pair` the weights of each pair's user, both [n, K]; `offset` [n] is added to rewards.
    """
    margin = (projected * of_pair).sum(dim=1)
    margin = (margin if offset is None else margin + offset) / temperature
    # One stable function: log(sigmoid(m)) underflows, and torch's softplus jumps by 2e-9 where it turns linear.
    loss = -torch.dot(torch.nn.functional.logsigmoid(margin), pair_weight)
    return loss, torch.sigmoid(-margin) * pair_weight * (-1.0 / temperature)


def _coefficients(
    of_pair: torch.Tensor, pair_weight: torch.Tensor, temperature: float, offset: torch.Tensor | None
) -> Coefficients:
    """Return the function that gives some pairs' part in the gradient by the basis, from their projections."""
    from scipy.special import expit

    weights, factor = of_pair.t().numpy(), (pair_weight * (-1.0 / temperature)).numpy()
    fixed = np.zeros(len(factor), dtype=np.float32) if offset is None else offset.numpy()

    def of_span(first: int, last: int, projected: Array) -> Array:
        own = weights[:, first:last]
        margin = ((projected * own).sum(axis=0) + fixed[first:last]) / np.float32(temperature)
        coefficients: Array = own * (expit(-margin) * factor[first:last])
        return coefficients

    return of_span
