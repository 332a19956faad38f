"""Adaptation: fit the weights of new users to their comparisons, given the basis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from lorerm.model.compatibility import check_embeddings
from lorerm.model.projected import ProjectedComparisons
from lorerm.model.user_weights import UserWeights
from lorerm.threads import torch_on_one_thread
from lorerm.training.config import AdaptationConfig
from lorerm.training.pairs import PackedPairs
from lorerm.training.recipes import find_recipe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.model.parameters import ModelParameters


# Comparisons in memory at once.
_BLOCK_PAIRS = 500_000


# torch's threads do not speed up one user's few numbers; for many users, `solve` has threads of its own.
@torch_on_one_thread()
def adapt(
    model: ModelParameters,
    data: EmbeddedPreferences,
    config: AdaptationConfig | None = None,
    *,
    keep_comparisons: bool = True,
) -> UserWeights:
    """Fit the weights of every user in `data`, each on their own comparisons in `data` alone.

    Parameters
    ----------
    model
        Gives the basis, the temperature and the prior.
    data
        The users' comparisons, embedded by the encoder that the model was trained on.
    config
        The recipe; None is the default one, the posterior under the model's prior.
    keep_comparisons
        Whether the K projections of each comparison are kept beside the weights, so that `UserWeights.update` can add
        later comparisons exactly. They are kept only with a posterior, which the published adaptation does not have.

    Raises
    ------
    DataError
        If the embeddings' dimension or encoder are not the model's.
    ConfigError
        If the published adaptation is asked for, and the model's weights are not on the simplex.
    """
    config = config or AdaptationConfig()
    check_embeddings(model, data)
    if not len(data):  # a split without unseen users
        return UserWeights.none(model)
    recipe = find_recipe(config.recipe)
    fit = recipe.start_adaptation(model, config)
    directions = model.basis.t().contiguous()
    user_ids: list[str] = []
    weights, covariances, comparisons = [], [], []
    for some in _blocks_of_users(data):
        pairs = PackedPairs.pack(some, differences=recipe.differences)
        projected = pairs.project(directions)
        fitted, covariance = fit(projected, pairs.user, pairs.count, pairs.n_users)
        weights.append(fitted.float())
        if covariance is not None:
            covariances.append(covariance.float())
            if keep_comparisons:
                comparisons.append(ProjectedComparisons(projected, pairs.count.float(), pairs.user + len(user_ids)))
        user_ids.extend(pairs.user_ids)
    return UserWeights(
        tuple(user_ids),
        torch.cat(weights),
        torch.cat(covariances) if covariances else None,
        ProjectedComparisons.concatenate(comparisons) if comparisons else None,
    )


def _blocks_of_users(data: EmbeddedPreferences) -> Iterator[EmbeddedPreferences]:
    """Yield the comparisons of consecutive users in order of first appearance, at least those of one user."""
    if len(data) <= _BLOCK_PAIRS:
        yield data
        return
    user_ids, user = data.index_users()
    by_user = np.argsort(user, kind="stable")
    ends = np.cumsum(np.bincount(user, minlength=len(user_ids)))
    del user_ids, user
    begin = 0
    while begin < len(by_user):
        last = max(np.searchsorted(ends, begin + _BLOCK_PAIRS, side="right") - 1, np.searchsorted(ends, begin, "right"))
        end = int(ends[last])
        yield data.select(np.sort(by_user[begin:end]))
        begin = end
