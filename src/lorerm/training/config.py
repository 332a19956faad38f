"""Settings of training and adaptation.

The docstring under each attribute is also the help text of the command-line option with that name.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal

from lorerm.errors import ConfigError
from lorerm.training.registry import RECIPES, load_recipe


@dataclass(frozen=True)
class TrainingConfig:
    """Settings for training the basis (the K reward directions) and the weights of the training users (seen users)."""

    rank: int | Literal["auto"] = "auto"
    """number of reward directions K; 0: the encoder's own reward head; 1: a single Bradley-Terry model for all users;
    "auto": chosen by validation loss"""
    recipe: str = field(default="default", metadata={"choices": RECIPES})
    """"default" (regularised, settings chosen on validation comparisons), "paper" or "paper-cosine" (as published)"""
    seed: int = 0
    """seed of the validation split and, in the published recipes, of the initial values (torch.manual_seed)"""
    steps: int | None = None
    """largest number of optimisation steps; None: 300 for default, 1000 for paper, 20000 for paper-cosine"""
    learning_rate: float | None = None
    """Adam's learning rate in the published recipes; None: the published 0.5"""
    alpha: float | None = None
    """strength of the regulariser of the published recipes; None: as published, 0 for paper and 1e4 for paper-cosine"""

    def __post_init__(self) -> None:
        taken = load_recipe(self.recipe).training_settings
        if self.rank != "auto" and (isinstance(self.rank, bool) or not isinstance(self.rank, int) or self.rank < 0):
            raise ConfigError(
                f"rank {self.rank!r} is not valid", 'give 0, a positive whole number, or "auto"', argument="rank"
            )
        if self.alpha is not None and not self.alpha >= 0:
            raise ConfigError(
                f"alpha {self.alpha!r} is negative", "give 0 or a positive number, or None", argument="alpha"
            )
        _check(self, taken)


@dataclass(frozen=True)
class AdaptationConfig:
    """Settings for fitting the weights of new users to their comparisons, given the basis."""

    recipe: str = "default"
    """"default" (the posterior under the model's prior) or "paper" (random start and Adam, as published)"""
    seed: int = 0
    """seed of the paper recipe's random start (torch.manual_seed)"""
    steps: int | None = None
    """Adam steps of the paper recipe; None: the published 500"""
    learning_rate: float | None = None
    """Adam's learning rate in the paper recipe; None: the published 0.1"""

    def __post_init__(self) -> None:
        taken = load_recipe(self.recipe).adaptation_settings
        if taken is None:
            known = [name for name in RECIPES if load_recipe(name).adaptation_settings is not None]
            raise ConfigError(
                f"recipe {self.recipe!r} has no adaptation of its own",
                f"choose one of {', '.join(known)}",
                argument="recipe",
            )
        _check(self, taken)


def _check(config: TrainingConfig | AdaptationConfig, taken: frozenset[str]) -> None:
    """Raise `ConfigError` for invalid settings of the optimiser, and for settings that the recipe would ignore."""
    if config.steps is not None and config.steps < 1:
        raise ConfigError(
            f"steps {config.steps!r} is less than 1", "give a positive number of steps, or None", argument="steps"
        )
    if config.learning_rate is not None and not config.learning_rate > 0:
        raise ConfigError(
            f"learning_rate {config.learning_rate!r} is not positive",
            "give a positive number, or None",
            argument="learning_rate",
        )
    for name in (each.name for each in fields(config)):
        if name not in {"rank", "recipe", "seed", *taken} and getattr(config, name) is not None:
            raise ConfigError(
                f"recipe {config.recipe!r} has no setting {name}",
                "leave the setting out, or choose another recipe",
                argument=name,
            )
