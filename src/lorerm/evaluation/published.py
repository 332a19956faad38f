"""The eight arrays of the published code, in its order and under its names, to compare with its tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lorerm.evaluation.report import Published
from lorerm.training.recipes import find_recipe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lorerm.evaluation.report import Estimate, RankRow
    from lorerm.training.config import TrainingConfig

# The published code's names of the four splits.
PUBLISHED_NAMES = {
    "train_seen": "train_accuracies_joint",
    "test_seen": "seen_user_unseen_prompts_accuracies_joint",
    "train_unseen": "few_shot_train_accuracies_few_shot",
    "test_unseen": "unseen_user_unseen_prompts_accuracies_few_shot",
}
# The published "std" is the standard deviation over users times this, with their number and not one less as divisor.
_STD_FACTOR = 0.25


def published_arrays(ranks: Sequence[RankRow], config: TrainingConfig) -> Published:
    """Return `alpha_list`, `K_list` and the eight arrays, one entry per available rank: four means, then four "std".

    Parameters
    ----------
    ranks
        The report's rows of ranks.
    config
        Its alpha is the only one; None in the default recipe, which has none.
    """
    available = [row for row in ranks if row.available]
    accuracies = {name: [row.accuracy(split) for row in available] for split, name in PUBLISHED_NAMES.items()}
    arrays = {name: tuple(None if one is None else one.mean for one in found) for name, found in accuracies.items()}
    arrays |= {f"{name}_std": tuple(map(_std, found)) for name, found in accuracies.items()}
    alpha = find_recipe(config.recipe).alpha if config.alpha is None else config.alpha
    return Published((alpha,), tuple(row.rank for row in available), arrays)


def _std(accuracy: Estimate | None) -> float | None:
    if accuracy is None or accuracy.std is None:
        return None
    return float(_STD_FACTOR * accuracy.std * ((accuracy.n_users - 1) / accuracy.n_users) ** 0.5)
