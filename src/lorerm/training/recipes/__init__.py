"""Training recipes: each is one module here, and one line in `lorerm.training.registry`.

A recipe says which settings it takes, how it trains and how it adapts to new users. Its module imports torch and the
algorithms only inside methods: configurations and the command's help read the settings without them.
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
    """A method of training, with the adaptation that goes with it.

    A subclass defines `weight_space` and `trainer`. By default it takes no settings, and new users get the posterior
    under the trained model's prior.
    """

    training_settings: ClassVar[frozenset[str]] = frozenset()
    """fields of `TrainingConfig` that it takes beside `rank`, `recipe` and `seed`"""
    adaptation_settings: ClassVar[frozenset[str] | None] = None
    """fields of `AdaptationConfig` that its adaptation takes beside `recipe` and `seed`; None: no `AdaptationConfig`
    names this recipe"""
    weight_space: ClassVar[WeightSpace]
    """where the weights of its models of rank 2 or more are"""
    differences: ClassVar[bool | None] = None
    """whether comparisons are stored as differences of embeddings; None takes the cheaper form"""
    quick_adaptation: ClassVar[bool] = True
    """whether its adaptation takes milliseconds per user"""
    alpha: ClassVar[float | None] = None
    """default strength of the regulariser that `TrainingConfig.alpha` sets; None: there is none"""

    def needs_reference(self, config: TrainingConfig) -> bool:  # noqa: ARG002 - recipes decide by it
        """Return whether training at ranks above 0 needs the reference head."""
        return False

    @abstractmethod
    def trainer(self, data: EmbeddedPreferences, config: TrainingConfig, reference: torch.Tensor | None) -> Trainer:
        """Return the trainer of some ranks on the same data.

        Parameters
        ----------
        data
            The training comparisons.
        config
            Its rank is not used.
        reference
            Float32 [D], the reference head; not None where `needs_reference`.
        """

    def adaptation(self, config: TrainingConfig) -> AdaptationConfig:
        """Return the adaptation to new users that goes with this training."""
        return AdaptationConfig(seed=config.seed)

    def start_adaptation(self, model: ModelParameters, config: AdaptationConfig) -> FitUsers:  # noqa: ARG002 - as above
        """Return the function that fits the weights of users; random numbers are seeded now.

        The function takes d . V of each comparison [n, K], grouped by user; the index of each comparison's user (int64
        [n], non-decreasing); the weight of each comparison [n]; and the number of users M. Each user has a comparison.
        It returns the weights [M, K] and their posterior covariance [M, K, K], None where it computes none.
        """
        from lorerm.model.posterior import solve

        return partial(solve, prior=model.prior, temperature=model.temperature)


def find_recipe(name: str) -> Recipe:
    """Return a registered recipe; an unknown name is a `ConfigError`."""
    return cast("Recipe", load_recipe(name))


def adaptation_for(config: TrainingConfig) -> AdaptationConfig:
    """Return the adaptation that goes with a training configuration."""
    return find_recipe(config.recipe).adaptation(config)
