"""The eight arrays of the published code, in its order and under its names, for whoever compares with its tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lorerm.training.paper import ALPHA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lorerm.training.config import TrainingConfig

# What the published code calls the four cells.
PUBLISHED_NAMES = {
    "train_seen": "train_accuracies_joint",
    "test_seen": "seen_user_unseen_prompts_accuracies_joint",
    "train_unseen": "few_shot_train_accuracies_few_shot",
    "test_unseen": "unseen_user_unseen_prompts_accuracies_few_shot",
}
# The published "std" is this much of the spread over users, which there is that of all of them and no sample's.
_STD_FACTOR = 0.25


def published_arrays(ranks: Sequence[dict[str, Any]], config: TrainingConfig) -> dict[str, Any]:
    """Return `alpha_list`, `K_list` and the eight arrays, one entry per available rank: four means, then four "std".

    Parameters
    ----------
    ranks
        The report's entries of ranks.
    config
        Its alpha is the only one; None in the default recipe, which has none.
    """
    available = [entry for entry in ranks if entry["available"]]

    def values(cell: str, figure: str) -> list[float | None]:
        return [(entry["cells"][cell] or {}).get(figure) for entry in available]

    def spread(cell: str) -> list[float | None]:
        found = [entry["cells"][cell] for entry in available]
        return [
            None if one is None or one["std"] is None
            else _STD_FACTOR * one["std"] * ((one["n_users"] - 1) / one["n_users"]) ** 0.5
            for one in found
        ]  # fmt: skip

    return {
        "alpha_list": [ALPHA.get(config.recipe) if config.alpha is None else config.alpha],
        "K_list": [entry["rank"] for entry in available],
        **{name: values(cell, "mean") for cell, name in PUBLISHED_NAMES.items()},
        **{f"{name}_std": spread(cell) for cell, name in PUBLISHED_NAMES.items()},
    }
