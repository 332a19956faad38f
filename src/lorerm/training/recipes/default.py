"""The default recipe: a reward direction shared by all users, and low-rank personal deviations from it.

Both are regularised. The settings are chosen on a validation split (comparisons held out of training).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lorerm.training.recipes import Recipe

if TYPE_CHECKING:
    import torch

    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.training.config import TrainingConfig
    from lorerm.training.trainer import Trainer


class DefaultRecipe(Recipe):
    """Training with ridge penalties on the directions and a mixture prior over user weights.

    The weights are posterior means. `steps` bounds the L-BFGS iterations of each fit on the full training data.
    Validation chooses the penalty strengths, so that `alpha` is not a setting.
    """

    training_settings = frozenset({"steps"})
    adaptation_settings = frozenset()
    weight_space = "free"

    def trainer(self, data: EmbeddedPreferences, config: TrainingConfig, reference: torch.Tensor | None) -> Trainer:
        """Return the trainer; a penalty pulls the shared direction towards `reference`, or towards 0 without it."""
        from lorerm.training.regularized_trainer import RegularizedTrainer

        return RegularizedTrainer(data, config, reference, differences=self.differences)


RECIPE = DefaultRecipe()
