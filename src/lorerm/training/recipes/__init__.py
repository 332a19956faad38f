"""Training recipes: each is one module in this package, and one line in `lorerm.training.registry`.

A recipe is a complete training method: its settings, the training, and the adaptation to new users. Its module imports
torch and the algorithms only inside methods, so that configurations and `--help` do not load them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, ClassVar, cast

from lorerm.training.config import AdaptationConfig
from lorerm.training.registry import load_recipe

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.model.parameters import ModelParameters
    from lorerm.model.prior import WeightSpace
    from lorerm.training.config import TrainingConfig
    from lorerm.training.trainer import Trainer

    FitUsers = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, int], tuple[torch.Tensor, torch.Tensor | None]]


class Recipe(ABC):
    """A training method and its adaptation to new users.

    A subclass defines `weight_space` and `trainer`. By default, a recipe has no settings of its own, and adaptation
    computes the posterior of a new user's weights under the trained model's prior.
    """

    training_settings: ClassVar[frozenset[str]] = frozenset()
    """fields of `TrainingConfig` that the recipe uses in addition to `rank`, `recipe` and `seed`"""
    adaptation_settings: ClassVar[frozenset[str] | None] = None
    """fields of `AdaptationConfig` used in addition to `recipe` and `seed`; None if an `AdaptationConfig` cannot name
    this recipe"""
    weight_space: ClassVar[WeightSpace]
    """the weight space of models of rank 2 or more: "simplex" (weights are at least 0 and sum to 1) or "free\""""
    differences: ClassVar[bool | None] = None
    """whether comparisons are stored as differences of embeddings; None takes the cheaper form"""
    quick_adaptation: ClassVar[bool] = True
    """whether adaptation takes only milliseconds per user"""
    alpha: ClassVar[float | None] = None
    """default value of `TrainingConfig.alpha`, the strength of the regulariser; None if there is no regulariser"""

    def needs_reference(self, config: TrainingConfig) -> bool:  # noqa: ARG002 - used in subclasses
        """Return whether training at ranks above 0 needs the reference head (the encoder's own reward head)."""
        return False

    @abstractmethod
    def trainer(self, data: EmbeddedPreferences, config: TrainingConfig, reference: torch.Tensor | None) -> Trainer:
        """Return a trainer, which can train several ranks on the same data.

        Parameters
        ----------
        data
            The training comparisons.
        config
            The settings; the rank is ignored.
        reference
            Float32 [D], the reference head (the encoder's own reward head); can be None only if `needs_reference`
            returns False.
        """

    def adaptation(self, config: TrainingConfig) -> AdaptationConfig:
        """Return the settings for adapting new users to a model that was trained with `config`."""
        return AdaptationConfig(seed=config.seed)

    def start_adaptation(self, model: ModelParameters, config: AdaptationConfig) -> FitUsers:  # noqa: ARG002 - as above
        """Return a function that fits user weights; its random numbers are seeded here.

        The arguments of the function, for n comparisons grouped by user and at least one per user:

        - the comparisons' projections on the basis [n, K];
        - the index of each comparison's user (int64 [n], non-decreasing);
        - the weight of each comparison [n];
        - the number of users M.

        It returns the weights [M, K] and their posterior covariance [M, K, K], or None for the covariance if the method
        computes none.
        """
        from lorerm.model.posterior import solve

        return partial(solve, prior=model.prior, temperature=model.temperature)


def find_recipe(name: str) -> Recipe:
    """Return a registered recipe. Raises `ConfigError` if the name is unknown."""
    return cast("Recipe", load_recipe(name))


def adaptation_for(config: TrainingConfig) -> AdaptationConfig:
    """Return the settings for adapting new users to a model that was trained with `config`."""
    return find_recipe(config.recipe).adaptation(config)
