"""The data term of every recipe: value and gradient as one pure function (no autograd, no loop over users).

P(chosen > rejected | u) = sigmoid(d . V w_u / s); the loss is the mean over users of each user's mean negative
log-likelihood (LoRe, arXiv 2504.14439, section 3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from lorerm.learning.pairs import PackedPairs


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
    pairs: PackedPairs, basis: torch.Tensor, weights: torch.Tensor, pair_weight: torch.Tensor, temperature: float = 1.0
) -> LossGradient:
    """Return sum_i pair_weight_i * -log sigmoid(d_i . V w_u(i) / s) and its gradients.

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
    """
    projected = pairs.project(basis)
    of_pair = weights.index_select(0, pairs.user)
    loss, slope = logistic_loss(projected, of_pair, pair_weight, temperature)
    basis_gradient = pairs.pull_back(of_pair * slope[:, None])
    return LossGradient(loss, basis_gradient, pairs.sum_by_user(projected * slope[:, None]))


def logistic_loss(
    projected: torch.Tensor, of_pair: torch.Tensor, pair_weight: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weighted loss (scalar) and its derivative by each pair's reward difference ([n]).

    `projected` is d . V and `of_pair` the weights of each pair's user, both [n, K].
    """
    margin = (projected * of_pair).sum(dim=1) / temperature
    # One stable function: log(sigmoid(m)) underflows, and torch's softplus jumps by 2e-9 where it turns linear.
    loss = -torch.dot(torch.nn.functional.logsigmoid(margin), pair_weight)
    return loss, torch.sigmoid(-margin) * pair_weight * (-1.0 / temperature)
