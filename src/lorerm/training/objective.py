"""The logistic loss of the training objectives and its gradients, computed without autograd or a loop over users.

The model is P(chosen > rejected | u) = sigmoid(d . V w_u / s): d is the embedding of the chosen response minus that of
the rejected one, V the basis [D, K], w_u the weights of user u, and s the temperature. The loss is a weighted sum of
negative log-likelihoods. The published loss (LoRe, arXiv 2504.14439, section 3) is the mean over users of each user's
mean negative log-likelihood.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from lorerm.threads import torch_on_one_thread

if TYPE_CHECKING:
    from lorerm.arrays import Floats32
    from lorerm.training.operators import Coefficients
    from lorerm.training.pairs import PackedPairs


class LossGradient(NamedTuple):
    """A loss with its gradients."""

    loss: torch.Tensor
    """scalar"""
    basis: torch.Tensor
    """[K, D]: the gradient with respect to V transposed"""
    weights: torch.Tensor
    """[N, K]: the gradient with respect to the user weights"""


def negative_log_likelihood(
    pairs: PackedPairs,
    basis: torch.Tensor,
    weights: torch.Tensor,
    pair_weight: torch.Tensor,
    temperature: float = 1.0,
    offset: torch.Tensor | None = None,
) -> LossGradient:
    """Return sum_i pair_weight_i * -log sigmoid((d_i . V w_u(i) + offset_i) / temperature) and its gradients.

    u(i) is the user of comparison i. `basis` [K, D] is V transposed, so that each reward direction is a contiguous row;
    `weights` are [N, K]. If `pair_weight` [n] is `pairs.weight / pairs.n_users`, the sum is the mean over users.
    `offset` [n] is added to the reward differences; None adds nothing.
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
    """Return the weighted loss (scalar) and its derivatives with respect to the reward differences [n].

    `projected` [n, K] is d . V of each comparison, and `of_pair` [n, K] the weights of its user. The other arguments
    are as in `negative_log_likelihood`.
    """
    margin = (projected * of_pair).sum(dim=1)
    margin = (margin if offset is None else margin + offset) / temperature
    # log(sigmoid(m)) would underflow. torch's softplus would jump by 2e-9 at the value from which on it is linear.
    loss = -torch.dot(torch.nn.functional.logsigmoid(margin), pair_weight)
    return loss, torch.sigmoid(-margin) * pair_weight * (-1.0 / temperature)


def _coefficients(
    of_pair: torch.Tensor, pair_weight: torch.Tensor, temperature: float, offset: torch.Tensor | None
) -> Coefficients:
    """Return the function that computes a factor for each comparison and direction from the projections d . V.

    The gradient with respect to V is the sum of the comparisons' d times these factors.
    """
    from scipy.special import expit

    weights, factor = of_pair.t().numpy(), (pair_weight * (-1.0 / temperature)).numpy()
    constant = np.zeros(len(factor), dtype=np.float32) if offset is None else offset.numpy()

    def of_span(first: int, last: int, projected: Floats32) -> Floats32:
        own = weights[:, first:last]
        margin = ((projected * own).sum(axis=0) + constant[first:last]) / np.float32(temperature)
        coefficients: Floats32 = own * (expit(-margin) * factor[first:last])
        return coefficients

    return of_span
