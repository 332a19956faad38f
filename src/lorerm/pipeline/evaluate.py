"""Evaluate trained models on the four splits, with the report as the result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lorerm.reporting.report import Report

if TYPE_CHECKING:
    from lorerm.data.splits import Splits
    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.model.reward_model import LowRankRewardModel
    from lorerm.training.config import AdaptationConfig


def evaluate(
    models: LowRankRewardModel | Mapping[int, LowRankRewardModel],
    splits: Splits[EmbeddedPreferences],
    *,
    adaptation: AdaptationConfig | None = None,
    seed: int = 0,
) -> Report:
    """Evaluate a model, or one per rank, on the four splits, with controls and the intervals of differences.

    Parameters
    ----------
    models
        Models trained on `splits.train_seen`. Rank 0 (if there is a reference head) and rank 1 are added if they are
        missing.
    splits
        The splits, as `lorerm.split` returns them. Unseen users are adapted on `splits.train_unseen`.
    adaptation
        How unseen users are adapted; None for the adaptation that belongs to the recipe of training.
    seed
        Seed of the random assignment of weights to other users, for the control.

    Returns
    -------
    Report
        The report, with `to_dict`, `to_markdown`, `to_html`, `figure` and `write`.
    """
    from lorerm.evaluation.evaluate import measure

    return Report.of(measure(models, splits, adaptation=adaptation, seed=seed))
