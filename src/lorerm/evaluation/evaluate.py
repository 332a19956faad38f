"""The evaluation protocol: every rank in the four cells, its controls in the same table, differences with intervals."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lorerm._version import __version__
from lorerm.evaluation.accuracy import Cell
from lorerm.evaluation.intervals import paired_differences, summarise
from lorerm.learning.adaptation import adapt
from lorerm.learning.config import TrainingConfig
from lorerm.learning.training import adaptation_for, choose_rank, train_ranks
from lorerm.model.reward_model import LowRankRewardModel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lorerm.encoding.embedded_preferences import EmbeddedPreferences
    from lorerm.learning.config import AdaptationConfig
    from lorerm.preferences.splits import Splits

    Values = np.ndarray[Any, np.dtype[np.float64]]

SCHEMA_VERSION = 1
CELLS = ("train_seen", "test_seen", "train_unseen", "test_unseen")
TEST_CELLS = ("test_seen", "test_unseen")
NO_REFERENCE = "the embeddings come without a reference head"


@dataclass(frozen=True, eq=False)
class _Accuracies:
    """Per-user accuracies of one rank, by cell: its own, and those of its two controls (rank 2 and above)."""

    own: Mapping[str, Values]
    shared_direction: Mapping[str, Values]
    other_users_weights: Mapping[str, Values]


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
        Trained on `cells.train_seen`. The reference head (rank 0) and one direction for everybody (rank 1) are added
        where they are missing, the latter trained by the first model's own recipe.
    cells
        The four cells; the unseen users are adapted on `cells.train_unseen`.
    adaptation
        None is the adaptation that goes with the recipe of training.
    seed
        Of the bootstrap and of the swaps of weights.
    reference_reason
        Why rank 0 is missing, if it is.
    """
    by_rank = {models.requested_rank: models} if isinstance(models, LowRankRewardModel) else dict(models)
    chosen_rank = choose_rank(by_rank)
    config = TrainingConfig(**by_rank[chosen_rank].training["config"])
    by_rank = _with_baselines(by_rank, cells.train_seen, config)
    adaptation = adaptation or adaptation_for(config)
    packed = {name: Cell.pack(getattr(cells, name)) for name in CELLS}
    accuracies = {
        rank: _accuracies(_with_unseen(by_rank[rank], cells, adaptation), packed, seed) for rank in sorted(by_rank)
    }
    # As the report does: the largest rank that has personal directions at all.
    shown = chosen_rank if chosen_rank > 1 else max(by_rank, key=lambda rank: (by_rank[rank].fitted_rank > 1, rank))
    return {
        "schema_version": SCHEMA_VERSION,
        "lorerm_version": __version__,
        "data": _describe(cells, packed),
        "config": {"training": asdict(config), "adaptation": asdict(adaptation)},
        "ranks": _rank_rows(by_rank, accuracies, packed, reference_reason),
        "controls": _control_rows(accuracies, packed),
        "chosen_rank": chosen_rank,
        "differences": _differences(accuracies, packed, seed),
        "gains": _gains(shown, accuracies),
    }


def _with_baselines(
    models: dict[int, LowRankRewardModel], train_seen: EmbeddedPreferences, config: TrainingConfig
) -> dict[int, LowRankRewardModel]:
    reference = next(iter(models.values())).reference
    missing = [rank for rank in (0, 1) if rank not in models and (rank == 1 or reference is not None)]
    if not missing:
        return models
    head = None if reference is None else reference.numpy()
    return {**models, **dict(train_ranks(train_seen, missing, config, head))}


def _with_unseen(
    model: LowRankRewardModel, cells: Splits[EmbeddedPreferences], adaptation: AdaptationConfig
) -> LowRankRewardModel:
    """Add the unseen users' weights; a model of one direction has the same for everybody already."""
    if model.basis.shape[1] < 2 or not len(cells.train_unseen):
        return model
    return model.with_users(adapt(model, cells.train_unseen, adaptation))


def _accuracies(model: LowRankRewardModel, packed: Mapping[str, Cell | None], seed: int) -> _Accuracies:
    own, shared, others = {}, {}, {}
    for name, cell in packed.items():
        if cell is None:
            continue
        weights = cell.weights_of(model)
        own[name] = cell.accuracy(model.basis, weights)
        if model.requested_rank > 1:
            shared[name] = cell.accuracy(model.basis, model.population_weights.expand(len(weights), -1))
            swapped = cell.accuracy_with_others(model.basis, weights, seed)
            if swapped is not None:
                others[name] = swapped
    return _Accuracies(own, shared, others)


def _summaries(values: Mapping[str, Values], packed: Mapping[str, Cell | None]) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for name in CELLS:
        cell = packed[name]
        rows[name] = None if cell is None or name not in values else summarise(values[name], cell.n_pairs).to_dict()
    return rows


def _rank_rows(
    models: Mapping[int, LowRankRewardModel],
    accuracies: Mapping[int, _Accuracies],
    packed: Mapping[str, Cell | None],
    reference_reason: str,
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    if 0 not in models:
        absent = {
            "rank": 0,
            "fitted_rank": None,
            "available": False,
            "reason": reference_reason,
            "selection": None,
            "cells": None,
        }
        rows.append(absent)
    for rank in sorted(models):
        training = models[rank].training
        validation = training.get("validation")
        selection = None
        if validation is not None:
            selection = {
                "validation_loss": validation["loss"],
                "validation_accuracy": validation["accuracy"],
                **training["chosen"],
            }
        rows.append(
            {
                "rank": rank,
                "fitted_rank": models[rank].fitted_rank,
                "available": True,
                "reason": None,
                "selection": selection,
                "cells": _summaries(accuracies[rank].own, packed),
            }
        )
    return rows


def _control_rows(accuracies: Mapping[int, _Accuracies], packed: Mapping[str, Cell | None]) -> list[dict[str, Any]]:
    labels = {"shared_direction": "shared direction alone", "other_users_weights": "another user's weights"}
    return [
        {"name": name, "label": label, "rank": rank, "cells": _summaries(getattr(found, name), packed)}
        for rank, found in accuracies.items()
        for name, label in labels.items()
        if rank > 1
    ]


def _differences(
    accuracies: Mapping[int, _Accuracies], packed: Mapping[str, Cell | None], seed: int
) -> list[dict[str, Any]]:
    rows = []
    for name in TEST_CELLS:
        if packed[name] is None:
            continue
        keys, columns = [], []
        for rank, found in accuracies.items():
            own = found.own[name]
            against = {
                "shared_direction": found.shared_direction.get(name),
                "bradley_terry": accuracies[1].own.get(name) if rank > 1 else None,
                "reference_head": accuracies[0].own.get(name) if rank > 0 and 0 in accuracies else None,
                "other_users_weights": found.other_users_weights.get(name),
            }
            for other, values in against.items():
                if values is not None:
                    keys.append({"rank": rank, "against": other, "cell": name})
                    columns.append(own - values)
        if columns:
            found_differences = paired_differences(np.stack(columns, axis=1), seed)
            rows += [{**key, **difference.to_dict()} for key, difference in zip(keys, found_differences, strict=True)]
    return sorted(rows, key=lambda row: row["rank"])


def _gains(rank: int, accuracies: Mapping[int, _Accuracies]) -> dict[str, Any]:
    """Each test user's accuracy less that of the shared direction; rank 1 is its own shared direction."""
    found = accuracies[rank]
    gains: dict[str, Any] = {"rank": rank, "against": "shared_direction"}
    for name in TEST_CELLS:
        own, shared = found.own.get(name), found.shared_direction.get(name)
        gains[name] = [] if own is None or shared is None else (own - shared).tolist()
    return gains


def _describe(cells: Splits[EmbeddedPreferences], packed: Mapping[str, Cell | None]) -> dict[str, Any]:
    def distinct(column: str, *names: str) -> int:
        return len(set().union(*(getattr(getattr(cells, name), column) for name in names)))

    train = cells.train_seen
    rows = np.unique(np.concatenate([end for name in CELLS for end in getattr(cells, name).rows()]))
    return {
        "source": None,
        "n_users": distinct("user_ids", *CELLS),
        "n_seen_users": distinct("user_ids", "train_seen", "test_seen"),
        "n_unseen_users": distinct("user_ids", "train_unseen", "test_unseen"),
        "n_pairs": sum(0 if cell is None else cell.n_pairs for cell in packed.values()),
        "n_prompts": distinct("prompt_ids", *CELLS),
        "n_responses": len(rows),
        "dimension": train.dimension,
        "encoder": None if train.encoder is None else train.encoder.to_dict(),
        "leaks": None,
        "warnings": cells.summary.warnings(),
        "cells": {
            name: {"n_users": 0 if cell is None else len(cell.user_ids), "n_pairs": 0 if cell is None else cell.n_pairs}
            for name, cell in packed.items()
        },
    }
