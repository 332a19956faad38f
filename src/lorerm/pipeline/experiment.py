"""Experiments: YAML files with every setting of an experiment, one section for each step of a run.

`lorerm/experiments/DATASET-default.yaml` has the recommended settings for a data set, `DATASET-paper.yaml` the settings
of the paper (arXiv 2504.14439). Settings on the command line replace the settings in the file. The merged experiment is
stored in the run folder as `experiment.yaml`, from which the later subcommands read their settings.

A *recipe* (`TrainingConfig.recipe`) is one setting of an experiment: the method that fits reward directions and
weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from lorerm.atomic import atomic_path
from lorerm.data.splits import SplitConfig
from lorerm.embedding.registry import setting_names
from lorerm.errors import ConfigError
from lorerm.evaluation.few_shot import FewShotConfig
from lorerm.pipeline.layout import EXPERIMENT, EXPERIMENT_BEFORE
from lorerm.training.config import AdaptationConfig, TrainingConfig

_FOLDER = "experiments"
# Settings whose values suit only one recipe: if the recipe is replaced, they are dropped.
_RECIPE_SETTINGS = ("steps", "learning_rate", "alphas")


def _names(config: type[Any]) -> tuple[str, ...]:
    return tuple(one.name for one in fields(config) if one.name not in ("rank", "alpha"))


def _sections() -> dict[str, tuple[str, ...] | None]:
    """Return the sections of an experiment, each with the names of its settings."""
    return {
        "data": None,  # any name: the loader of the data set checks its own options
        "split": _names(SplitConfig),
        "embed": ("encoder", *setting_names()),
        "train": (*_names(TrainingConfig), "ranks", "alphas"),
        "adapt": _names(AdaptationConfig),
        "shots": ("rank", "shots", *_names(FewShotConfig)),
    }


@dataclass(frozen=True)
class Experiment:
    """The settings of an experiment. If a setting is missing, the default of the subcommand applies."""

    data: Mapping[str, Any] = field(default_factory=dict)
    """options of the data set"""
    split: Mapping[str, Any] = field(default_factory=dict)
    """fields of `SplitConfig`"""
    embed: Mapping[str, Any] = field(default_factory=dict)
    """the encoder: its name and its settings"""
    train: Mapping[str, Any] = field(default_factory=dict)
    """fields of `TrainingConfig`, with `ranks` and `alphas` as lists in place of `rank` and `alpha`"""
    adapt: Mapping[str, Any] = field(default_factory=dict)
    """fields of `AdaptationConfig`"""
    shots: Mapping[str, Any] = field(default_factory=dict)
    """settings of the few-shot curve: `rank`, `shots` (the numbers of comparisons per user at which the accuracy is
    measured) and fields of `FewShotConfig`"""

    def merge(self, **settings: Mapping[str, Any]) -> Experiment:
        """Return a copy of the experiment in which `settings`, given by section, replace the settings of that name.

        If they replace the recipe (`train["recipe"]`), the settings of this experiment that suit only its own recipe
        are dropped, and its adaptation too.
        """
        merged = {one.name: {**getattr(self, one.name), **settings.get(one.name, {})} for one in fields(self)}
        own = settings.get("train", {})
        if own.get("recipe", self.recipe) != self.recipe:
            merged["train"] = {k: v for k, v in merged["train"].items() if k in own or k not in _RECIPE_SETTINGS}
            merged["adapt"] = dict(settings.get("adapt", {}))
        return Experiment(**merged)

    @property
    def recipe(self) -> str:
        """Name of the training recipe."""
        return str(self.train.get("recipe", "default"))

    def training(self) -> tuple[TrainingConfig, list[int] | None, list[float] | None]:
        """Return (training configuration, ranks, alphas); alphas are strengths of the regulariser.

        Ranks and alphas are None if the experiment does not set them. If it sets a single alpha, the configuration
        contains it, and alphas are None.
        """
        settings = dict(self.train)
        ranks, alphas = settings.pop("ranks", None), settings.pop("alphas", None)
        config = TrainingConfig(**{"rank": "auto", **settings})
        if alphas is not None and len(alphas) == 1:
            return replace(config, alpha=float(alphas[0])), ranks, None
        return config, ranks, None if alphas is None else [float(alpha) for alpha in alphas]

    def adaptation(self, trained: TrainingConfig) -> AdaptationConfig | None:
        """Return the settings with which users are adapted to a model that was trained with `trained`.

        Return None, for the default adaptation of the model's recipe, if the experiment does not set an adaptation or
        if the model was trained with another recipe than the experiment names.
        """
        if not self.adapt or trained.recipe != self.recipe:
            return None
        return AdaptationConfig(**{"seed": trained.seed, **self.adapt})

    def write(self, run: Path) -> None:
        """Store the experiment in a run folder."""
        import yaml

        sections = {name: dict(values) for name, values in asdict(self).items() if values}
        with atomic_path(run / EXPERIMENT) as temporary:
            temporary.write_text(yaml.safe_dump(sections, sort_keys=False, allow_unicode=True), encoding="utf-8")
        (run / EXPERIMENT_BEFORE).unlink(missing_ok=True)


def read_experiment(path: str | Path) -> Experiment:
    """Read an experiment from a YAML file."""
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"the experiment cannot be read ({reason})", "give a YAML file", file=path) from error
    sections = _sections()
    if not isinstance(content, dict) or not all(isinstance(section, dict) for section in content.values()):
        raise ConfigError(
            "the file is not a mapping of sections, each with a mapping of settings",
            f"write the settings in the sections {', '.join(sections)}",
            file=path,
        )
    for name, section in content.items():
        if name not in sections:
            raise ConfigError(
                f"there is no section {name!r}", f"use {', '.join(sections)}", file=path, argument=str(name)
            )
        known = sections[name]
        for setting in section:
            if known is not None and setting not in known:
                raise ConfigError(
                    f"section {name} has no setting {setting!r}",
                    f"use {', '.join(known)}",
                    file=path,
                    argument=str(setting),
                )
    return Experiment(**content)


def is_file(name: str | None) -> bool:
    """Return whether `name`, an experiment's name or file, is the path of a YAML file."""
    return name is not None and name.endswith((".yaml", ".yml"))


def find_experiment(dataset: str | None, name: str | None) -> Experiment:
    """Return an experiment by its name or file.

    The experiment `default` has no settings if the comparisons come from files, or if the package has no experiment for
    the data set.

    Parameters
    ----------
    dataset
        The data set's name; None if the comparisons come from files.
    name
        The name of an experiment that the package has for the data set (such as `default` or `paper`), or the path of a
        YAML file, whose settings replace those of `default`. None means `default`.
    """
    if name is not None and is_file(name):
        return _packaged(dataset, "default").merge(**asdict(read_experiment(name)))
    known = list(dict.fromkeys(["default", *packaged_names(dataset)]))
    if name is not None and name not in known:
        owner = "comparisons from files" if dataset is None else f"data set {dataset}"
        raise ConfigError(
            f"there is no experiment {name!r} for {owner}",
            f"choose {' or '.join(known)}, or give a YAML file (to choose how to train, use --recipe)",
            argument="experiment",
        )
    return _packaged(dataset, name or "default")


def packaged_names(dataset: str | None) -> list[str]:
    """Return the names of the experiments that the package has for a data set."""
    start = f"{dataset}-"
    found = sorted(entry.name for entry in (files("lorerm") / _FOLDER).iterdir() if entry.name.endswith(".yaml"))
    return [name[len(start) : -len(".yaml")] for name in found if name.startswith(start)]


def _packaged(dataset: str | None, name: str) -> Experiment:
    path = files("lorerm") / _FOLDER / f"{dataset}-{name}.yaml"
    return read_experiment(str(path)) if dataset is not None and path.is_file() else Experiment()


def stored_experiment(run: Path) -> Experiment:
    """Return the experiment stored in a run folder, or an experiment without settings if none is stored."""
    paths = [path for name in (EXPERIMENT, EXPERIMENT_BEFORE) if (path := run / name).exists()]
    return read_experiment(paths[0]) if paths else Experiment()
