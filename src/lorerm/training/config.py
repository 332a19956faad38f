"""What can be chosen about training and adaptation: two frozen dataclasses, free of heavy imports.

The docstring under each attribute is also the help text of the command's option of that name.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from lorerm.errors import ConfigError

RECIPES = ("default", "paper", "paper-cosine")

Recipe = Literal["default", "paper", "paper-cosine"]


class _Params:
    """What scikit-learn's tools ask of settings."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002 - nothing is nested
        """Return the settings by name; two configurations are equal when these are."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]


@dataclass(frozen=True)
class TrainingConfig(_Params):
    """How the basis and the seen users' weights are learnt."""

    rank: int | Literal["auto"] = "auto"
    """number of reward directions K: 0 is the reference head, 1 one direction for all, "auto" lets validation choose"""
    recipe: Recipe = "default"
    """"default" (regularised, selected on validation pairs), "paper" or "paper-cosine" (as published)"""
    seed: int = 0
    """seed of the validation cut and, in the paper recipes, of the initial values (torch.manual_seed)"""
    steps: int | None = None
    """most optimisation steps; None: the recipe's own (1000 for paper, 20000 for paper-cosine)"""
    learning_rate: float | None = None
    """Adam's learning rate in the paper recipes; None: the published 0.5"""
    alpha: float | None = None
    """strength of the paper recipes' regulariser; None: the published 0 for paper, 1e4 for paper-cosine"""

    def __post_init__(self) -> None:
        if self.recipe not in RECIPES:
            raise ConfigError(f"recipe {self.recipe!r} is not known", f"choose one of {', '.join(RECIPES)}")
        if self.rank != "auto" and (isinstance(self.rank, bool) or not isinstance(self.rank, int) or self.rank < 0):
            raise ConfigError(f"rank {self.rank!r} is not a rank", 'give a whole number from 0 on, or "auto"')
        if self.steps is not None and self.steps < 1:
            raise ConfigError(f"steps {self.steps!r} is less than 1", "give a positive number of steps, or None")
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise ConfigError(
                f"learning_rate {self.learning_rate!r} is not positive", "give a positive number, or None"
            )
        if self.alpha is not None and not self.alpha >= 0:
            raise ConfigError(f"alpha {self.alpha!r} is negative", "give 0 or a positive number, or None")
        if self.recipe == "default":
            for name in ("learning_rate", "alpha"):
                if getattr(self, name) is not None:
                    raise ConfigError(
                        f"{name} has no meaning in the default recipe",
                        "leave it out (strengths are chosen on validation pairs), or ask for a paper recipe",
                    )


@dataclass(frozen=True)
class AdaptationConfig(_Params):
    """How the weights of new users are fitted while the basis stays fixed."""

    recipe: Literal["default", "paper"] = "default"
    """"default" (the convex problem with the seen users' prior) or "paper" (random start and Adam, as published)"""
    seed: int = 0
    """seed of the paper recipe's random start (torch.manual_seed)"""
    steps: int | None = None
    """Adam steps of the paper recipe; None: the published 500"""
    learning_rate: float | None = None
    """Adam's learning rate in the paper recipe; None: the published 0.1"""

    def __post_init__(self) -> None:
        if self.recipe not in ("default", "paper"):
            raise ConfigError(f"adaptation recipe {self.recipe!r} is not known", "choose default or paper")
        if self.steps is not None and self.steps < 1:
            raise ConfigError(f"steps {self.steps!r} is less than 1", "give a positive number of steps, or None")
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise ConfigError(
                f"learning_rate {self.learning_rate!r} is not positive", "give a positive number, or None"
            )
        if self.recipe == "default" and (self.steps is not None or self.learning_rate is not None):
            raise ConfigError(
                "steps and learning_rate have no meaning in the default adaptation",
                "leave them out, or ask for the paper recipe",
            )
