"""The registered training recipes by name; `lorerm.training.recipes` holds one module for each."""

from __future__ import annotations

from importlib import import_module
from typing import Protocol

from lorerm.errors import ConfigError

RECIPES = {
    "default": "lorerm.training.recipes.default",
    "paper": "lorerm.training.recipes.paper",
    "paper-cosine": "lorerm.training.recipes.paper_cosine",
}
"""For each recipe the module that defines it, as its attribute `RECIPE`. A new recipe adds one line."""


class RecipeSettings(Protocol):
    """The part of a recipe that decides which settings a configuration may contain."""

    @property
    def training_settings(self) -> frozenset[str]:
        """Fields of `TrainingConfig` that the recipe takes beside `rank`, `recipe` and `seed`."""
        ...

    @property
    def adaptation_settings(self) -> frozenset[str] | None:
        """Fields of `AdaptationConfig` that its adaptation takes beside `recipe` and `seed`; None: it has none."""
        ...


def load_recipe(name: str) -> RecipeSettings:
    """Import the module of a recipe, and return the recipe; an unknown name is a `ConfigError`."""
    if name not in RECIPES:
        raise ConfigError(f"recipe {name!r} is not known", f"choose one of {', '.join(RECIPES)}", argument="recipe")
    recipe: RecipeSettings = import_module(RECIPES[name]).RECIPE
    return recipe
