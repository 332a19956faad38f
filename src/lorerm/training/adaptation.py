"""Adaptation: fit the weights of new users to their comparisons. The basis (the reward directions) stays fixed."""

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
    from collections.abc import Callable, Iterator, Sequence

    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.model.parameters import ModelParameters


# Largest number of comparisons in memory at once, unless one user has more.
_BLOCK_PAIRS = 500_000


# Threads of torch do not speed up the small tensors of one user; for many users, `solve` starts its own threads.
@torch_on_one_thread()
def adapt(
    model: ModelParameters,
    data: EmbeddedPreferences,
    config: AdaptationConfig | None = None,
    *,
    keep_comparisons: bool = True,
) -> UserWeights:
    """Fit the weights of each user in `data` to the user's own comparisons.

    Parameters
    ----------
    model
        The model whose basis, temperature and prior are used.
    data
        The users' comparisons, embedded by the encoder that the model was trained on.
    config
        Settings of the adaptation; None is the default recipe, the posterior under the model's prior.
    keep_comparisons
        Whether to keep the K projections of each comparison with the weights, so that `UserWeights.update` can add
        later comparisons exactly. Ignored by recipe "paper", which computes no posterior.

    Raises
    ------
    DataError
        If the embeddings and the model differ in dimension or encoder.
    ConfigError
        If recipe "paper" is selected, but the model's weights are not on the simplex (at least 0, with sum 1).
    """
    return _adapt(model, data, config, lambda covariance: keep_comparisons and covariance is not None)


@torch_on_one_thread()
def adapt_and_keep(model: ModelParameters, data: EmbeddedPreferences, config: AdaptationConfig) -> UserWeights:
    """Do the same as `adapt`, and keep the projected comparisons also if the recipe computes no posterior.

    The comparisons are grouped by user, the users in order of first appearance, and otherwise in the order of `data`.
    """
    return _adapt(model, data, config, lambda _: True)


@torch_on_one_thread()
def refit(
    model: ModelParameters, user_ids: Sequence[str], comparisons: ProjectedComparisons, config: AdaptationConfig
) -> UserWeights:
    """Fit the weights of users to comparisons that are already projected on the model's basis."""
    fit = find_recipe(config.recipe).start_adaptation(model, config)
    weights, covariance = fit(comparisons.projected, comparisons.user, comparisons.count.double(), len(user_ids))
    return UserWeights(
        tuple(user_ids), weights.float(), None if covariance is None else covariance.float(), comparisons
    )


def project(model: ModelParameters, data: EmbeddedPreferences) -> tuple[tuple[str, ...], ProjectedComparisons]:
    """Project any number of comparisons on the model's basis, in bounded memory.

    Return the users in order of first appearance, and the projected comparisons, grouped by user.
    """
    user_ids: list[str] = []
    parts = [ProjectedComparisons.empty(model.basis.shape[1])]
    for pairs, projected in _projected_blocks(model, data, differences=None):
        parts.append(ProjectedComparisons(projected, pairs.count.float(), pairs.user + len(user_ids)))
        user_ids.extend(pairs.user_ids)
    return tuple(user_ids), ProjectedComparisons.concatenate(parts)


def _adapt(
    model: ModelParameters,
    data: EmbeddedPreferences,
    config: AdaptationConfig | None,
    keep: Callable[[torch.Tensor | None], bool],
) -> UserWeights:
    """Do the work of `adapt`. `keep` gets the posterior covariance or None, and returns whether to keep comparisons."""
    config = config or AdaptationConfig()
    check_embeddings(model, data)
    if not len(data):  # a split without unseen users
        return UserWeights.none(model)
    recipe = find_recipe(config.recipe)
    fit = recipe.start_adaptation(model, config)
    user_ids: list[str] = []
    weights, covariances, comparisons = [], [], []
    for pairs, projected in _projected_blocks(model, data, recipe.differences):
        fitted, covariance = fit(projected, pairs.user, pairs.count, pairs.n_users)
        weights.append(fitted.float())
        if covariance is not None:
            covariances.append(covariance.float())
        if keep(covariance):
            comparisons.append(ProjectedComparisons(projected, pairs.count.float(), pairs.user + len(user_ids)))
        user_ids.extend(pairs.user_ids)
    return UserWeights(
        tuple(user_ids),
        torch.cat(weights),
        torch.cat(covariances) if covariances else None,
        ProjectedComparisons.concatenate(comparisons) if comparisons else None,
    )


def _projected_blocks(
    model: ModelParameters, data: EmbeddedPreferences, differences: bool | None
) -> Iterator[tuple[PackedPairs, torch.Tensor]]:
    """Yield the comparisons of some users at a time, and their projections on the basis [n, K]."""
    directions = model.basis.t().contiguous()
    for some in _blocks_of_users(data):
        pairs = PackedPairs.pack(some, differences=differences)
        yield pairs, pairs.project(directions)


def _blocks_of_users(data: EmbeddedPreferences) -> Iterator[EmbeddedPreferences]:
    """Split the data into blocks of whole users, in order of the users' first appearance.

    A block has at most `_BLOCK_PAIRS` comparisons, or a single user.
    """
    if len(data) <= _BLOCK_PAIRS:
        yield data
        return
    user_ids, user = data.index_users()
    by_user = np.argsort(user, kind="stable")
    # For each user, the end of the user's comparisons in `by_user`.
    ends = np.cumsum(np.bincount(user, minlength=len(user_ids)))
    del user_ids, user
    begin = 0
    while begin < len(by_user):
        # The last user of the block: the last one whose comparisons fit, but at least the first user.
        last = max(np.searchsorted(ends, begin + _BLOCK_PAIRS, side="right") - 1, np.searchsorted(ends, begin, "right"))
        end = int(ends[last])
        yield data.select(np.sort(by_user[begin:end]))
        begin = end
