"""Adaptation: the weights of new users, the basis fixed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lorerm.errors import ConfigError, DataError
from lorerm.learning import paper
from lorerm.learning.config import AdaptationConfig
from lorerm.learning.pairs import PackedPairs
from lorerm.model.posterior import solve
from lorerm.model.user_weights import UserWeights

if TYPE_CHECKING:
    from lorerm.encoding.embedded_preferences import EmbeddedPreferences
    from lorerm.model.reward_model import LowRankRewardModel


def adapt(model: LowRankRewardModel, data: EmbeddedPreferences, config: AdaptationConfig | None = None) -> UserWeights:
    """Fit the weights of every user in `data`.

    Parameters
    ----------
    model
        Gives the basis, the temperature and the prior.
    data
        The users' answers, embedded by the encoder that the model was trained on.
    config
        The recipe; None is the default one: the posterior's mode under the model's prior, with its covariance. Users
        who have answers in the model already are fitted on `data` alone.

    Raises
    ------
    DataError
        If the embeddings' dimension or encoder are not the model's.
    ConfigError
        If the paper's recipe is asked for a model whose weights are not on the simplex.
    """
    config = config or AdaptationConfig()
    if data.dimension != model.basis.shape[0]:
        raise DataError(
            f"the answers' embeddings have dimension {data.dimension}, the model's basis {model.basis.shape[0]}",
            "embed the answers with the encoder that the model was trained on",
        )
    if None not in (data.encoder, model.encoder) and data.encoder != model.encoder:
        raise DataError(
            "the answers were embedded by another encoder, or with other settings, than the model's training data",
            "embed the answers with the encoder that the model was trained on",
        )
    if not len(data):  # a split without unseen users
        return UserWeights((), model.weights[:0], None if model.covariance is None else model.covariance[:0])
    if config.recipe == "paper":
        return _adapt_as_published(model, data, config)
    pairs = PackedPairs.pack(data)
    projected = pairs.project(model.basis.t().contiguous())
    posterior = solve(projected, pairs.user, pairs.count, pairs.n_users, model.prior, model.temperature)
    return UserWeights(pairs.user_ids, posterior.weights.float(), posterior.covariance.float())


def _adapt_as_published(model: LowRankRewardModel, data: EmbeddedPreferences, config: AdaptationConfig) -> UserWeights:
    if model.basis.shape[1] > 1 and model.weight_space != "simplex":
        raise ConfigError(
            "the paper's adaptation keeps weights on the simplex, but this model's weights are free",
            'adapt with recipe "default", or train with recipe "paper"',
        )
    pairs = PackedPairs.pack(data, differences=True)
    torch.manual_seed(config.seed)
    weights = paper.fit_few_shot(
        pairs,
        model.basis.t().contiguous(),
        steps=config.steps or paper.FEW_SHOT_STEPS,
        learning_rate=config.learning_rate or paper.FEW_SHOT_LEARNING_RATE,
    )
    return UserWeights(pairs.user_ids, weights)
