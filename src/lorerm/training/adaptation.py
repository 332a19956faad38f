"""Adaptation: the weights of new users, the basis fixed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from lorerm.errors import ConfigError
from lorerm.model.compatibility import check_embeddings
from lorerm.model.posterior import solve
from lorerm.model.projected import ProjectedComparisons
from lorerm.model.user_weights import UserWeights
from lorerm.threads import torch_on_one_thread
from lorerm.training import paper
from lorerm.training.config import AdaptationConfig
from lorerm.training.pairs import PackedPairs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.model.reward_model import LowRankRewardModel


# Answers that are looked at together, which bounds the memory.
_BLOCK_PAIRS = 500_000


# One user's numbers are too few for torch's threads; of many users, `solve` has threads of its own.
@torch_on_one_thread()
def adapt(
    model: LowRankRewardModel,
    data: EmbeddedPreferences,
    config: AdaptationConfig | None = None,
    *,
    keep_comparisons: bool = True,
) -> UserWeights:
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
    keep_comparisons
        Whether the K numbers of each answer that its posterior needs are kept beside the weights, so that
        `UserWeights.update` adds later answers exactly. The paper's recipe has no use for them.

    Raises
    ------
    DataError
        If the embeddings' dimension or encoder are not the model's.
    ConfigError
        If the paper's recipe is asked for a model whose weights are not on the simplex.
    """
    config = config or AdaptationConfig()
    check_embeddings(model, data)
    if not len(data):  # a split without unseen users
        return UserWeights.none(model)
    if config.recipe == "paper":
        return _adapt_as_published(model, data, config)
    directions = model.basis.t().contiguous()
    user_ids: list[str] = []
    weights, covariances, answers = [], [], []
    for some in _some_users_at_a_time(data):
        pairs = PackedPairs.pack(some)
        projected = pairs.project(directions)
        posterior = solve(projected, pairs.user, pairs.count, pairs.n_users, model.prior, model.temperature)
        if keep_comparisons:
            answers.append(ProjectedComparisons(projected, pairs.count.float(), pairs.user + len(user_ids)))
        user_ids.extend(pairs.user_ids)
        weights.append(posterior.weights.float())
        covariances.append(posterior.covariance.float())
    kept = ProjectedComparisons.concatenate(answers) if keep_comparisons else None
    return UserWeights(tuple(user_ids), torch.cat(weights), torch.cat(covariances), kept)


def _some_users_at_a_time(data: EmbeddedPreferences) -> Iterator[EmbeddedPreferences]:
    """Yield the answers of users next to each other in the order of first appearance: users are independent."""
    if len(data) <= _BLOCK_PAIRS:
        yield data
        return
    user_ids, user = data.index_users()
    by_user = np.argsort(user, kind="stable")
    ends = np.cumsum(np.bincount(user, minlength=len(user_ids)))
    del user_ids, user
    begin = 0
    while begin < len(by_user):
        # All users that end within the block, and at least one.
        last = max(np.searchsorted(ends, begin + _BLOCK_PAIRS, side="right") - 1, np.searchsorted(ends, begin, "right"))
        end = int(ends[last])
        yield data.select(np.sort(by_user[begin:end]))
        begin = end


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
