"""Evaluation of every rank (number of reward directions), as a report: accuracies, baselines, differences, gains."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from lorerm._version import __version__
from lorerm.data.schema import SPLITS
from lorerm.data.splits import SplitSize
from lorerm.data.weights import weight_warnings
from lorerm.embedding.checks import same_warnings
from lorerm.evaluation.per_user import agreement, user_gains
from lorerm.evaluation.predictions import CONTROLS, Predictions, predict
from lorerm.evaluation.report import (
    SCHEMA_VERSION,
    Control,
    DataSummary,
    Published,
    RankRow,
    Report,
    Selection,
    Settings,
)
from lorerm.model.reward_model import LowRankRewardModel
from lorerm.training.recipes import find_recipe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lorerm.data.splits import Splits
    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.evaluation.report import Estimate
    from lorerm.training.config import AdaptationConfig, TrainingConfig

NO_REFERENCE = "the embeddings come without a reference head"
# Split -> name of the array with its accuracies in the paper's published code.
_PUBLISHED_NAMES = {
    "train_seen": "train_accuracies_joint",
    "test_seen": "seen_user_unseen_prompts_accuracies_joint",
    "train_unseen": "few_shot_train_accuracies_few_shot",
    "test_unseen": "unseen_user_unseen_prompts_accuracies_few_shot",
}
# The published "std" is this factor times the standard deviation over users (with divisor n, not n - 1).
_PUBLISHED_STD = 0.25


def measure(
    models: LowRankRewardModel | Mapping[int, LowRankRewardModel],
    data: Splits[EmbeddedPreferences],
    *,
    adaptation: AdaptationConfig | None = None,
    seed: int = 0,
) -> Report:
    """Evaluate one model, or one model per rank; see `predict` for the parameters."""
    by_rank = {models.requested_rank: models} if isinstance(models, LowRankRewardModel) else models
    return describe(predict(by_rank, data, adaptation, seed))


def describe(predictions: Predictions, reference_reason: str = NO_REFERENCE) -> Report:
    """Summarise predictions as a report, without a few-shot curve, further seeds and axes.

    If the models have no reference head, `reference_reason` is the report's explanation for it.
    """
    ranks = [_rank_row(rank, model, predictions) for rank, model in predictions.models.items()]
    if 0 not in predictions.models:
        ranks.insert(0, RankRow(rank=0, available=False, reason=reference_reason))
    return Report(
        schema_version=SCHEMA_VERSION,
        lorerm_version=__version__,
        data=_summarise_data(predictions),
        settings=Settings(asdict(predictions.config), asdict(predictions.adaptation)),
        ranks=tuple(ranks),
        controls=tuple(
            Control(name, label, rank, predictions.accuracies(rank, name))
            for rank in predictions.models
            for name, label in CONTROLS.items()
            if rank > 1
        ),
        chosen_rank=predictions.chosen_rank,
        differences=predictions.differences(),
        gains=user_gains(predictions),
        agreement=agreement(predictions),
        published=published_arrays(
            {rank: predictions.published_accuracies(rank) for rank in predictions.models}, predictions.config
        ),
    )


def _rank_row(rank: int, model: LowRankRewardModel, predictions: Predictions) -> RankRow:
    validation, selection = model.training.get("validation"), None
    if validation is not None:
        selection = Selection(validation["loss"], validation["accuracy"], model.training["chosen"])
    return RankRow(
        rank=rank,
        fitted_rank=model.fitted_rank,
        available=True,
        selection=selection,
        accuracies=predictions.accuracies(rank),
    )


def _summarise_data(predictions: Predictions) -> DataSummary:
    data = predictions.data

    def distinct(column: str, *splits: str) -> int:
        return len(set().union(*(getattr(getattr(data, split), column) for split in splits)))

    responses = np.unique(np.concatenate([end for split in SPLITS for end in getattr(data, split).rows()]))
    sizes = dict.fromkeys(SPLITS, SplitSize(0, 0))
    sizes |= {split: SplitSize(pairs.n_users, len(pairs)) for split, pairs in predictions.pairs.items()}
    n_comparisons = sum(size.n_pairs for size in sizes.values())
    n_users = distinct("user_ids", *SPLITS)
    n_same = sum(int(pairs.same.sum()) for pairs in predictions.pairs.values())
    return DataSummary(
        n_users=n_users,
        n_seen_users=distinct("user_ids", "train_seen", "test_seen"),
        n_unseen_users=distinct("user_ids", "train_unseen", "test_unseen"),
        n_comparisons=n_comparisons,
        n_prompts=distinct("prompt_ids", *SPLITS),
        n_responses=len(responses),
        dimension=data.train_seen.dimension,
        encoder=data.train_seen.encoder,
        n_same=n_same,
        total_weight=sum(float(pairs.count.sum()) for pairs in predictions.pairs.values()),
        warnings=(
            *data.summary.warnings(),
            *weight_warnings(np.concatenate([pairs.count.numpy() for pairs in predictions.pairs.values()]), n_users),
            *same_warnings(n_same, n_comparisons),
        ),
        splits=sizes,
    )


def published_arrays(by_rank: Mapping[int, Mapping[str, Estimate | None]], config: TrainingConfig) -> Published:
    """Return the eight result arrays of the paper's published code: four of means, then four of "std".

    `by_rank` has the accuracies of each rank by split (`Predictions.published_accuracies`). Each array has one entry
    per rank. `alpha_list` (strengths of the regulariser) has one entry, which is None for the default recipe.
    """
    accuracies = {name: [found[split] for found in by_rank.values()] for split, name in _PUBLISHED_NAMES.items()}
    arrays = {name: tuple(None if one is None else one.mean for one in found) for name, found in accuracies.items()}
    arrays |= {f"{name}_std": tuple(map(_published_std, found)) for name, found in accuracies.items()}
    alpha = find_recipe(config.recipe).alpha if config.alpha is None else config.alpha
    return Published((alpha,), tuple(by_rank), arrays)


def _published_std(accuracy: Estimate | None) -> float | None:
    if accuracy is None or accuracy.std is None:
        return None
    return float(_PUBLISHED_STD * accuracy.std * ((accuracy.n_users - 1) / accuracy.n_users) ** 0.5)
