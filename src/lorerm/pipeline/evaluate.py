"""Evaluate trained models on the four splits and return the report."""

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
    """Evaluate one model, or one model per rank, on the four splits.

    The report also has the accuracies of baselines, and the differences from them with confidence intervals.

    Parameters
    ----------
    models
        One model, or a mapping from rank to model, trained on `splits.train_seen`. If rank 1 (one reward direction for
        all users) is missing, it is trained and added. So is rank 0 (the encoder's own reward head) if there is one.
    splits
        The splits, as `lorerm.split` returns them. Unseen users are adapted on `splits.train_unseen`.
    adaptation
        How unseen users are adapted. None uses the adaptation that belongs to the training recipe.
    seed
        Seed of the random choice of users for the baseline in which each user gets another user's weights.

    Returns
    -------
    Report
        Convert it with `to_dict`, `to_markdown`, `to_html` or `figure`, or store it with `write`.
    """
    from lorerm.evaluation.evaluate import measure

    return Report.of(measure(models, splits, adaptation=adaptation, seed=seed))
