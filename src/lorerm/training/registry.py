"""The registered training recipes by name; each is a module in `lorerm.training.recipes`."""

from __future__ import annotations

from importlib import import_module
from typing import Protocol

from lorerm.errors import ConfigError

RECIPES = {
    "default": "lorerm.training.recipes.default",
    "paper": "lorerm.training.recipes.paper",
    "paper-cosine": "lorerm.training.recipes.paper_cosine",
}
"""Keys: names of recipes. Values: modules whose attribute `RECIPE` is the recipe. A new recipe adds one line."""


class RecipeSettings(Protocol):
    """The part of a recipe that determines which settings a configuration may contain."""

    @property
    def training_settings(self) -> frozenset[str]:
        """Fields of `TrainingConfig` that the recipe uses in addition to `rank`, `recipe` and `seed`."""
        ...

    @property
    def adaptation_settings(self) -> frozenset[str] | None:
        """Fields of `AdaptationConfig` that the recipe uses in addition to `recipe` and `seed`.

        None if an `AdaptationConfig` cannot name this recipe.
        """
        ...


def load_recipe(name: str) -> RecipeSettings:
    """Import the module of a recipe and return the recipe. Raises `ConfigError` if the name is unknown."""
    if name not in RECIPES:
        raise ConfigError(f"recipe {name!r} is not known", f"choose one of {', '.join(RECIPES)}", argument="recipe")
    recipe: RecipeSettings = import_module(RECIPES[name]).RECIPE
    return recipe
