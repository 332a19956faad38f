"""Settings of training, and of adaptation (fitting the weights of new users).

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
    """number of reward directions K; 0: the encoder's own reward head; 1: one direction for all users (a single
    Bradley-Terry model); "auto": the rank with the best loss on held-out comparisons"""
    recipe: str = field(default="default", metadata={"choices": RECIPES})
    """training method: "default" (regularised; held-out comparisons choose its settings), or one of the methods of the
    paper, "paper" or "paper-cosine\""""
    seed: int = 0
    """seed of the choice of held-out comparisons and, in the recipes of the paper, of the random initial values"""
    steps: int | None = None
    """largest number of optimisation steps; None: 300 in recipe default, 1000 in paper, 20000 in paper-cosine"""
    learning_rate: float | None = None
    """learning rate of the optimiser (Adam) in the recipes of the paper; None: 0.5, as published"""
    alpha: float | None = None
    """strength of the penalty that pulls the reward directions towards the encoder's own reward head, in the recipes of
    the paper; None: as published, 0 in paper and 1e4 in paper-cosine"""

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
    """seed of the random start in recipe "paper" (torch.manual_seed)"""
    steps: int | None = None
    """number of Adam steps in recipe "paper"; None: 500, as published"""
    learning_rate: float | None = None
    """learning rate of Adam in recipe "paper"; None: 0.1, as published"""

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
