"""What every rank predicts in the four cells, pair by pair: its own weights' predictions and those of its controls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lorerm.data.schema import SPLITS, TEST_SPLITS
from lorerm.evaluation.accuracy import Cell
from lorerm.evaluation.intervals import Estimate, estimate
from lorerm.training.adaptation import adapt
from lorerm.training.config import AdaptationConfig, TrainingConfig
from lorerm.training.train import adaptation_for, choose_rank, train_ranks

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from lorerm.data.splits import Splits
    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.model.reward_model import LowRankRewardModel

    Floats = np.ndarray[Any, np.dtype[np.float64]]

# What a rank is scored with, other than its own weights.
CONTROLS = {"shared_direction": "shared direction alone", "other_users_weights": "another user's weights"}
OWN = "own"


@dataclass(frozen=True, eq=False)
class Measured:
    """The predictions of every rank.

    Parameters
    ----------
    models
        By rank, the unseen users among their users.
    cells
        The four cells, packed; None where one is empty.
    chosen_rank
        The one that validation chose.
    config, adaptation
        The chosen model's recipe, and how the unseen users were adapted.
    right
        Float64 [n], 1 where the pair is predicted rightly, by rank, cell, and what it is scored with: `own` or one of
        `CONTROLS` (these at rank 2 and above).
    """

    models: Mapping[int, LowRankRewardModel]
    cells: Mapping[str, Cell | None]
    chosen_rank: int
    config: TrainingConfig
    adaptation: AdaptationConfig
    right: Mapping[tuple[int, str, str], Floats]

    @classmethod
    def of(
        cls,
        models: Mapping[int, LowRankRewardModel],
        cells: Splits[EmbeddedPreferences],
        adaptation: AdaptationConfig | None = None,
        seed: int = 0,
    ) -> Measured:
        """Adapt the unseen users and predict every pair.

        Parameters
        ----------
        models
            By rank. The reference head (rank 0) and one direction for everybody (rank 1) are added where they are
            missing, the latter trained by the chosen model's own recipe.
        cells
            The unseen users are adapted on `cells.train_unseen`.
        adaptation
            None is the adaptation that goes with the recipe of training.
        seed
            Of the swaps of weights.
        """
        chosen = choose_rank(models)
        config = TrainingConfig(**models[chosen].training["config"])
        adaptation = adaptation or adaptation_for(config)
        complete = _with_baselines(dict(models), cells.train_seen, config)
        packed = {name: Cell.pack(getattr(cells, name)) for name in SPLITS}
        right: dict[tuple[int, str, str], Floats] = {}
        adapted = {}
        for rank in sorted(complete):
            adapted[rank] = model = _with_unseen(complete[rank], cells, adaptation)
            for name, cell in packed.items():
                if cell is not None:
                    found = _predictions(model, cell, seed)
                    right |= {(rank, name, weights): values for weights, values in found.items()}
        return cls(adapted, packed, chosen, config, adaptation, right)

    @property
    def focus_rank(self) -> int:
        """The rank that a report looks at closely: the chosen one or, where that is not personal, the largest."""
        if self.chosen_rank > 1:
            return self.chosen_rank
        return max(self.models, key=lambda rank: (self.models[rank].fitted_rank > 1, rank))

    def accuracies(self, rank: int, weights: str = OWN) -> dict[str, dict[str, Any] | None]:
        """Return each cell's accuracy over users with its interval, as JSON-able values; None where it is empty."""
        found: dict[str, dict[str, Any] | None] = {}
        for name, cell in self.cells.items():
            values = self.right.get((rank, name, weights))
            if cell is None or values is None:
                found[name] = None
            else:
                found[name] = estimate(values[:, None], cell.sample)[0].to_dict()
        return found

    def differences(self, name: str) -> list[tuple[dict[str, Any], Estimate]]:
        """Return each rank's differences in one cell, paired within pairs: (rank, against what), and the estimate."""
        cell = self.cells[name]
        keys, columns = [], []
        for rank in self.models:
            own = self.right.get((rank, name, OWN))
            against = {
                "shared_direction": self.right.get((rank, name, "shared_direction")),
                "bradley_terry": self.right.get((1, name, OWN)) if rank > 1 else None,
                "reference_head": self.right.get((0, name, OWN)) if rank > 0 else None,
                "other_users_weights": self.right.get((rank, name, "other_users_weights")),
            }
            for other, values in against.items():
                if own is not None and values is not None:
                    keys.append({"rank": rank, "against": other, "cell": name})
                    columns.append(own - values)
        if cell is None or not columns:
            return []
        return list(zip(keys, estimate(np.stack(columns, axis=1), cell.sample), strict=True))

    def predictions(self) -> pa.Table:
        """Return every prediction on test prompts: cell, user, prompt, the pair's share, and a column per rank."""
        import pyarrow as pa

        tables = []
        for name in TEST_SPLITS:
            cell = self.cells[name]
            if cell is None:
                continue
            columns: dict[str, Any] = {
                "cell": pa.array([name] * cell.n_pairs).dictionary_encode(),
                "user_id": pa.array(cell.user_ids, pa.string()).take(pa.array(cell.sample.user)),
                "prompt_id": pa.array(cell.prompt_ids, pa.string()).take(pa.array(cell.prompt)),
                "share": cell.sample.share,
            }
            for rank in self.models:
                columns[f"rank_{rank}"] = self.right[rank, name, OWN].astype(bool)
            tables.append(pa.table(columns))
        return pa.concat_tables(tables).unify_dictionaries() if tables else pa.table({})


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


def _predictions(model: LowRankRewardModel, cell: Cell, seed: int) -> dict[str, Floats]:
    weights, projected = cell.weights_of(model), cell.project(model.basis)
    found = {OWN: cell.right(projected, weights)}
    if model.requested_rank > 1:
        found["shared_direction"] = cell.right(projected, model.population_weights)
        swapped = cell.right_with_others(projected, weights, seed)
        if swapped is not None:
            found["other_users_weights"] = swapped
    return found
