"""The recipe `paper`: LoRe as published (arXiv 2504.14439), with the constants of the authors' code."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from lorerm.errors import ConfigError
from lorerm.training.config import AdaptationConfig
from lorerm.training.recipes import Recipe

if TYPE_CHECKING:
    import torch

    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.model.parameters import ModelParameters
    from lorerm.training.config import TrainingConfig
    from lorerm.training.paper import FitBasis
    from lorerm.training.recipes import FitUsers
    from lorerm.training.trainer import Trainer


class PaperRecipe(Recipe):
    """One Adam optimiser for the basis and the softmax logits of the weights, with an optional l2 penalty."""

    training_settings = frozenset({"steps", "learning_rate", "alpha"})
    adaptation_settings: ClassVar[frozenset[str] | None] = frozenset({"steps", "learning_rate"})
    weight_space = "simplex"
    # The authors' code trains on stored differences: the same form gives the same rounding.
    differences = True
    quick_adaptation = False

    # Constants of the published runs on Reddit TLDR and PersonalLLM.
    steps = 1000
    learning_rate = 0.5
    alpha: ClassVar[float] = 0.0
    few_shot_steps = 500
    few_shot_learning_rate = 0.1

    def needs_reference(self, config: TrainingConfig) -> bool:
        """Return whether there is an l2 penalty, which pulls the basis towards the encoder's own reward head."""
        return self._alpha(config) > 0

    def trainer(self, data: EmbeddedPreferences, config: TrainingConfig, reference: torch.Tensor | None) -> Trainer:
        """Return the trainer; settings that are not given have their published values."""
        from lorerm.training.paper import PaperTrainer, fit_few_shot

        fit_basis = partial(
            self.fit_basis(),
            steps=config.steps or self.steps,
            learning_rate=config.learning_rate or self.learning_rate,
            alpha=self._alpha(config),
            reference=reference,
        )
        few_shot = partial(fit_few_shot, steps=self.few_shot_steps, learning_rate=self.few_shot_learning_rate)
        return PaperTrainer(data, config, reference, fit_basis, few_shot, differences=self.differences)

    def fit_basis(self) -> FitBasis:
        """Return the function that fits basis and weights."""
        from lorerm.training.paper import fit_joint

        return fit_joint

    def adaptation(self, config: TrainingConfig) -> AdaptationConfig:
        """Return the settings of the published few-shot stage."""
        return AdaptationConfig(
            recipe="paper", seed=config.seed, steps=self.few_shot_steps, learning_rate=self.few_shot_learning_rate
        )

    def start_adaptation(self, model: ModelParameters, config: AdaptationConfig) -> FitUsers:
        """Return the published few-shot fit: one Adam optimiser, from random logits.

        Raises `ConfigError` if the model has several directions and its weights are not on the simplex.
        """
        import torch

        from lorerm.training.paper import fit_few_shot

        if model.basis.shape[1] > 1 and model.weight_space != self.weight_space:
            raise ConfigError(
                f"the adaptation of recipe 'paper' needs weights on the simplex, not {model.weight_space} ones",
                'adapt with recipe "default", or train with recipe "paper"',
                argument="recipe",
            )
        torch.manual_seed(config.seed)

        def fit(
            projected: torch.Tensor, user: torch.Tensor, count: torch.Tensor, n_users: int
        ) -> tuple[torch.Tensor, None]:
            share = count / torch.zeros(n_users, dtype=count.dtype).index_add_(0, user, count)[user]
            steps = config.steps or self.few_shot_steps
            rate = config.learning_rate or self.few_shot_learning_rate
            return fit_few_shot(projected, user, share.float(), n_users, steps=steps, learning_rate=rate), None

        return fit

    def _alpha(self, config: TrainingConfig) -> float:
        return self.alpha if config.alpha is None else config.alpha


RECIPE = PaperRecipe()
