"""The evaluation protocol: every rank on the four splits, its controls, and paired differences with intervals."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from lorerm._version import __version__
from lorerm.data.schema import SPLITS
from lorerm.evaluation.per_user import agreement, user_gains
from lorerm.evaluation.predictions import CONTROLS, Predictions, predict
from lorerm.evaluation.published import published_arrays
from lorerm.evaluation.report import (
    SCHEMA_VERSION,
    Control,
    DataSummary,
    RankRow,
    Report,
    Selection,
    Settings,
    SplitSize,
)
from lorerm.model.reward_model import LowRankRewardModel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lorerm.data.splits import Splits
    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.training.config import AdaptationConfig

NO_REFERENCE = "the embeddings come without a reference head"


def measure(
    models: LowRankRewardModel | Mapping[int, LowRankRewardModel],
    data: Splits[EmbeddedPreferences],
    *,
    adaptation: AdaptationConfig | None = None,
    seed: int = 0,
    reference_reason: str = NO_REFERENCE,
) -> Report:
    """Evaluate one model, or one model per rank.

    Parameters
    ----------
    models
        Trained on `data.train_seen`. The reference head (rank 0) and the single Bradley-Terry model (rank 1) are added
        where they are missing.
    data
        The four splits; the unseen users are adapted on `data.train_unseen`.
    adaptation
        None is the adaptation that goes with the recipe of training.
    seed
        Seed of the exchange of weights among users.
    reference_reason
        The reason to report where there is no reference head.
    """
    by_rank = {models.requested_rank: models} if isinstance(models, LowRankRewardModel) else models
    return describe(predict(by_rank, data, adaptation, seed), reference_reason)


def describe(predictions: Predictions, reference_reason: str = NO_REFERENCE) -> Report:
    """Summarise predictions as a report, without the studies of a run (few-shot curve, seeds, axes)."""
    ranks = _rank_rows(predictions, reference_reason)
    return Report(
        schema_version=SCHEMA_VERSION,
        lorerm_version=__version__,
        data=_summarise_data(predictions),
        settings=Settings(asdict(predictions.config), asdict(predictions.adaptation)),
        ranks=ranks,
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
        published=published_arrays(ranks, predictions.config),
    )


def _rank_rows(predictions: Predictions, reference_reason: str) -> tuple[RankRow, ...]:
    rows = []
    if 0 not in predictions.models:
        rows.append(RankRow(rank=0, available=False, reason=reference_reason))
    for rank, model in predictions.models.items():
        validation, selection = model.training.get("validation"), None
        if validation is not None:
            selection = Selection(validation["loss"], validation["accuracy"], model.training["chosen"])
        accuracies = predictions.accuracies(rank)
        rows.append(
            RankRow(
                rank=rank,
                fitted_rank=model.fitted_rank,
                available=True,
                selection=selection,
                accuracies=accuracies,
            )
        )
    return tuple(rows)


def _summarise_data(predictions: Predictions) -> DataSummary:
    data = predictions.data

    def distinct(column: str, *splits: str) -> int:
        return len(set().union(*(getattr(getattr(data, split), column) for split in splits)))

    responses = np.unique(np.concatenate([end for split in SPLITS for end in getattr(data, split).rows()]))
    sizes = dict.fromkeys(SPLITS, SplitSize(0, 0))
    sizes |= {split: SplitSize(pairs.n_users, len(pairs)) for split, pairs in predictions.pairs.items()}
    return DataSummary(
        n_users=distinct("user_ids", *SPLITS),
        n_seen_users=distinct("user_ids", "train_seen", "test_seen"),
        n_unseen_users=distinct("user_ids", "train_unseen", "test_unseen"),
        n_comparisons=sum(size.n_comparisons for size in sizes.values()),
        n_prompts=distinct("prompt_ids", *SPLITS),
        n_responses=len(responses),
        dimension=data.train_seen.dimension,
        encoder=data.train_seen.encoder,
        warnings=tuple(data.summary.warnings()),
        splits=sizes,
    )
