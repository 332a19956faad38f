"""Recipe files: every setting of an experiment in one plain YAML file.

`lorerm/experiments/NAME-default.yaml` is the corrected protocol of a data set, `NAME-paper.yaml` the published one. A
recipe's sections are the steps; what the command line gives goes before what the file says, and the merged recipe is
kept in the run as `recipe.yaml`, where the later verbs look for their settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from lorerm.atomic import atomic_path
from lorerm.errors import ConfigError
from lorerm.pipeline.config import SplitConfig
from lorerm.training.config import RECIPES, AdaptationConfig, TrainingConfig

STORED = "recipe.yaml"
ENCODER_SETTINGS = ("model", "revision", "dtype", "max_length", "attn")
_FOLDER = "experiments"
# What a training recipe brings with it, and another one cannot take over.
_CONSTANTS = ("steps", "learning_rate", "alphas")


def _names(config: type[Any]) -> tuple[str, ...]:
    return tuple(one.name for one in fields(config) if one.name not in ("rank", "alpha"))


_SECTIONS: Mapping[str, tuple[str, ...] | None] = {
    "data": None,  # the data set's own options, which its loader checks
    "split": _names(SplitConfig),
    "embed": ENCODER_SETTINGS,
    "train": (*_names(TrainingConfig), "ranks", "alphas"),
    "adapt": _names(AdaptationConfig),
    "shots": ("rank", "shots", "trials", "seed"),
}


@dataclass(frozen=True)
class Recipe:
    """The settings of an experiment; what is not set is the verb's own default."""

    data: Mapping[str, Any] = field(default_factory=dict)
    """options of the data set"""
    split: Mapping[str, Any] = field(default_factory=dict)
    """fields of `SplitConfig`"""
    embed: Mapping[str, Any] = field(default_factory=dict)
    """the encoder"""
    train: Mapping[str, Any] = field(default_factory=dict)
    """fields of `TrainingConfig`, with `ranks` and `alphas` as lists in place of `rank` and `alpha`"""
    adapt: Mapping[str, Any] = field(default_factory=dict)
    """fields of `AdaptationConfig`"""
    shots: Mapping[str, Any] = field(default_factory=dict)
    """the few-shot curve"""

    def merge(self, **given: Mapping[str, Any]) -> Recipe:
        """Return the recipe with some settings replaced, section by section.

        Another training recipe (`train["recipe"]`) leaves the constants of this one behind, and its adaptation.
        """
        merged = {name: {**getattr(self, name), **given.get(name, {})} for name in _SECTIONS}
        wanted = given.get("train", {}).get("recipe")
        if wanted is not None and wanted != self.train.get("recipe", "default"):
            own = given.get("train", {})
            merged["train"] = {k: v for k, v in merged["train"].items() if k in own or k not in _CONSTANTS}
            merged["adapt"] = dict(given.get("adapt", {}))
        return Recipe(**merged)

    def adaptation(self, trained: TrainingConfig) -> AdaptationConfig | None:
        """Return how users are adapted to a model that was trained by `trained`.

        None is the one that goes with its training recipe, also where that is another than this recipe's.
        """
        if not self.adapt or trained.recipe != self.train.get("recipe", "default"):
            return None
        return AdaptationConfig(**{"seed": trained.seed, **self.adapt})

    def write(self, run: Path) -> None:
        """Keep the recipe in a run folder."""
        import yaml

        sections = {name: dict(values) for name, values in asdict(self).items() if values}
        with atomic_path(run / STORED) as temporary:
            temporary.write_text(yaml.safe_dump(sections, sort_keys=False, allow_unicode=True), encoding="utf-8")


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe file.

    Raises
    ------
    ConfigError
        If the file cannot be read, is not YAML, or has a section or setting that is not known.
    """
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"the recipe {path} cannot be read ({reason})", "give a YAML file") from error
    if not isinstance(content, dict) or not all(isinstance(section, dict) for section in content.values()):
        raise ConfigError(
            f"the recipe {path} is not a mapping of sections with settings", f"its sections are {', '.join(_SECTIONS)}"
        )
    for name, section in content.items():
        if name not in _SECTIONS:
            raise ConfigError(f"the recipe {path} has an unknown section {name!r}", f"use {', '.join(_SECTIONS)}")
        known = _SECTIONS[name]
        for setting in section:
            if known is not None and setting not in known:
                raise ConfigError(
                    f"the recipe {path} has an unknown setting {setting!r} under {name}", f"use {', '.join(known)}"
                )
    return Recipe(**content)


def is_recipe_file(name: str | None) -> bool:
    """Tell a recipe file from a recipe's name."""
    return name is not None and name.endswith((".yaml", ".yml"))


def find_recipe(dataset: str | None, name: str | None) -> Recipe:
    """Return the recipe of an experiment.

    Parameters
    ----------
    dataset
        The data set's name, or None for files.
    name
        A YAML file; a packaged recipe of the data set (`default` or `paper`); or a training recipe alone, on top of the
        data set's default. None is the data set's default.

    Returns
    -------
    Recipe
        Empty where nothing is set: files, or a data set without recipes.

    Raises
    ------
    ConfigError
        If there is no such recipe.
    """
    if name is not None and is_recipe_file(name):
        return packaged_recipe(dataset, "default").merge(**asdict(read_recipe(name)))
    if name is None or (dataset is not None and name in packaged_names(dataset)):
        return packaged_recipe(dataset, name or "default")
    if name in RECIPES:
        return packaged_recipe(dataset, "default").merge(train={"recipe": name})
    known = dict.fromkeys([*(packaged_names(dataset) if dataset else ()), *RECIPES])
    raise ConfigError(f"recipe {name!r} is not known", f"choose one of {', '.join(known)}, or give a YAML file")


def packaged_names(dataset: str) -> list[str]:
    """Return the names of a data set's recipes in the package."""
    start = f"{dataset}-"
    found = sorted(entry.name for entry in (files("lorerm") / _FOLDER).iterdir() if entry.name.endswith(".yaml"))
    return [name[len(start) : -len(".yaml")] for name in found if name.startswith(start)]


def packaged_recipe(dataset: str | None, name: str) -> Recipe:
    """Return a recipe of the package; an empty one where there is none."""
    path = files("lorerm") / _FOLDER / f"{dataset}-{name}.yaml"
    return read_recipe(str(path)) if dataset is not None and path.is_file() else Recipe()


def stored_recipe(run: Path) -> Recipe:
    """Return the recipe that a run keeps; an empty one where it keeps none."""
    path = run / STORED
    return read_recipe(path) if path.exists() else Recipe()


def training(recipe: Recipe) -> tuple[TrainingConfig, list[int] | None, list[float] | None]:
    """Return the training's configuration (its alpha where the recipe names one), the ranks, and the alphas of a sweep.

    Raises
    ------
    ConfigError
        A setting is out of its range.
    """
    settings = dict(recipe.train)
    ranks, alphas = settings.pop("ranks", None), settings.pop("alphas", None)
    config = TrainingConfig(**{"rank": "auto", **settings})
    if alphas is not None and len(alphas) == 1:
        return replace(config, alpha=float(alphas[0])), ranks, None
    return config, ranks, None if alphas is None else [float(alpha) for alpha in alphas]
