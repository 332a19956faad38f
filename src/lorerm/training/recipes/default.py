"""The default recipe: a regularised shared direction and low-rank deviations, with settings chosen by validation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lorerm.training.recipes import Recipe

if TYPE_CHECKING:
    import torch

    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.training.config import TrainingConfig
    from lorerm.training.trainer import Trainer


class DefaultRecipe(Recipe):
    """Ridge penalties on the directions, a mixture prior over user weights, and posterior means as weights.

    `steps` bounds the L-BFGS iterations of each fit on the full training data. Validation
    chooses the penalty strengths, so that `alpha` is not a setting.
    """

    training_settings = frozenset({"steps"})
    adaptation_settings = frozenset()
    weight_space = "free"

    def trainer(self, data: EmbeddedPreferences, config: TrainingConfig, reference: torch.Tensor | None) -> Trainer:
        """Return the trainer; it penalises the shared direction towards `reference`, or towards 0 if that is None."""
        from lorerm.training.regularized_trainer import RegularizedTrainer

        return RegularizedTrainer(data, config, reference, differences=self.differences)


RECIPE = DefaultRecipe()
