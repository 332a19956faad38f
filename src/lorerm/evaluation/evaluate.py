"""The evaluation protocol: every rank in the four cells, its controls in the same table, differences with intervals."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from lorerm._version import __version__
from lorerm.data.schema import SPLITS, TEST_SPLITS
from lorerm.evaluation.measured import CONTROLS, Measured
from lorerm.evaluation.per_user import agreement, gains_of_users
from lorerm.evaluation.published import published_arrays
from lorerm.model.reward_model import LowRankRewardModel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lorerm.data.splits import Splits
    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.training.config import AdaptationConfig

SCHEMA_VERSION = 1
NO_REFERENCE = "the embeddings come without a reference head"


def measure(
    models: LowRankRewardModel | Mapping[int, LowRankRewardModel],
    cells: Splits[EmbeddedPreferences],
    *,
    adaptation: AdaptationConfig | None = None,
    seed: int = 0,
    reference_reason: str = NO_REFERENCE,
) -> dict[str, Any]:
    """Evaluate one model, or one per rank, and return the report's content (its schema: `docs/report.md`).

    Parameters
    ----------
    models
        Trained on `cells.train_seen`; otherwise as `Measured.of`.
    cells
        The four cells; the unseen users are adapted on `cells.train_unseen`.
    adaptation
        None is the adaptation that goes with the recipe of training.
    seed
        Of the swaps of weights.
    reference_reason
        Why rank 0 is missing, if it is.
    """
    by_rank = {models.requested_rank: models} if isinstance(models, LowRankRewardModel) else models
    return describe(Measured.of(by_rank, cells, adaptation, seed), cells, reference_reason)


def describe(
    measured: Measured, cells: Splits[EmbeddedPreferences], reference_reason: str = NO_REFERENCE
) -> dict[str, Any]:
    """Return the report's content from what was measured."""
    ranks = _rank_rows(measured, reference_reason)
    return {
        "schema_version": SCHEMA_VERSION,
        "lorerm_version": __version__,
        "data": _describe_data(cells, measured),
        "config": {"training": asdict(measured.config), "adaptation": asdict(measured.adaptation)},
        "ranks": ranks,
        "controls": [
            {"name": name, "label": label, "rank": rank, "cells": measured.accuracies(rank, name)}
            for rank in measured.models
            for name, label in CONTROLS.items()
            if rank > 1
        ],
        "chosen_rank": measured.chosen_rank,
        "differences": _differences(measured),
        "gains": gains_of_users(measured),
        "agreement": agreement(measured),
        "published": published_arrays(ranks, measured.config),
    }


def _rank_rows(measured: Measured, reference_reason: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    if 0 not in measured.models:
        absent = {"fitted_rank": None, "available": False, "reason": reference_reason, "selection": None, "cells": None}
        rows.append({"rank": 0, **absent})
    for rank, model in measured.models.items():
        validation, selection = model.training.get("validation"), None
        if validation is not None:
            selection = {
                "validation_loss": validation["loss"],
                "validation_accuracy": validation["accuracy"],
                **model.training["chosen"],
            }
        rows.append(
            {
                "rank": rank,
                "fitted_rank": model.fitted_rank,
                "available": True,
                "reason": None,
                "selection": selection,
                "cells": measured.accuracies(rank),
            }
        )
    return rows


def _differences(measured: Measured) -> list[dict[str, Any]]:
    rows = [{**key, **difference.to_dict()} for name in TEST_SPLITS for key, difference in measured.differences(name)]
    return sorted(rows, key=lambda row: row["rank"])


def _describe_data(cells: Splits[EmbeddedPreferences], measured: Measured) -> dict[str, Any]:
    def distinct(column: str, *names: str) -> int:
        return len(set().union(*(getattr(getattr(cells, name), column) for name in names)))

    train = cells.train_seen
    rows = np.unique(np.concatenate([end for name in SPLITS for end in getattr(cells, name).rows()]))
    sizes = {
        name: {"n_users": 0 if cell is None else len(cell.user_ids), "n_pairs": 0 if cell is None else cell.n_pairs}
        for name, cell in measured.cells.items()
    }
    return {
        "source": None,
        "n_users": distinct("user_ids", *SPLITS),
        "n_seen_users": distinct("user_ids", "train_seen", "test_seen"),
        "n_unseen_users": distinct("user_ids", "train_unseen", "test_unseen"),
        "n_pairs": sum(size["n_pairs"] for size in sizes.values()),
        "n_prompts": distinct("prompt_ids", *SPLITS),
        "n_responses": len(rows),
        "dimension": train.dimension,
        "encoder": None if train.encoder is None else train.encoder.to_dict(),
        "leaks": None,
        "warnings": cells.summary.warnings(),
        "cells": sizes,
    }
