"""Experiments: a YAML file holds every setting of one published or own experiment, section by section.

`lorerm/experiments/DATASET-default.yaml` is the corrected protocol of a data set, `DATASET-paper.yaml` the published
one. The sections are the steps of a run. Settings of the command line replace those of the file. The merged experiment
is stored in the run folder as `experiment.yaml`, where the later verbs look for their settings.

A *recipe* is something else: how the basis and the weights are fitted (`TrainingConfig.recipe`), one setting of an
experiment.
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
# Settings that belong to one training recipe: another recipe has its own.
_RECIPE_SETTINGS = ("steps", "learning_rate", "alphas")


def _names(config: type[Any]) -> tuple[str, ...]:
    return tuple(one.name for one in fields(config) if one.name not in ("rank", "alpha"))


def _sections() -> dict[str, tuple[str, ...] | None]:
    """Return the sections of an experiment, each with its settings."""
    return {
        "data": None,  # the data set's own options, which its loader checks
        "split": _names(SplitConfig),
        "embed": ("encoder", *setting_names()),
        "train": (*_names(TrainingConfig), "ranks", "alphas"),
        "adapt": _names(AdaptationConfig),
        "shots": ("rank", "shots", *_names(FewShotConfig)),
    }


@dataclass(frozen=True)
class Experiment:
    """The settings of an experiment; a setting that is missing has the default of its verb."""

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
    """the few-shot curve"""

    def merge(self, **settings: Mapping[str, Any]) -> Experiment:
        """Return the experiment with some settings replaced, section by section.

        Another training recipe (`train["recipe"]`) drops the settings that belong to the recipe of this experiment,
        and its adaptation.
        """
        merged = {one.name: {**getattr(self, one.name), **settings.get(one.name, {})} for one in fields(self)}
        own = settings.get("train", {})
        if own.get("recipe", self.recipe) != self.recipe:
            merged["train"] = {k: v for k, v in merged["train"].items() if k in own or k not in _RECIPE_SETTINGS}
            merged["adapt"] = dict(settings.get("adapt", {}))
        return Experiment(**merged)

    @property
    def recipe(self) -> str:
        """The recipe of training."""
        return str(self.train.get("recipe", "default"))

    def training(self) -> tuple[TrainingConfig, list[int] | None, list[float] | None]:
        """Return the configuration of training, the ranks, and the alphas where there are several."""
        settings = dict(self.train)
        ranks, alphas = settings.pop("ranks", None), settings.pop("alphas", None)
        config = TrainingConfig(**{"rank": "auto", **settings})
        if alphas is not None and len(alphas) == 1:
            return replace(config, alpha=float(alphas[0])), ranks, None
        return config, ranks, None if alphas is None else [float(alpha) for alpha in alphas]

    def adaptation(self, trained: TrainingConfig) -> AdaptationConfig | None:
        """Return how users are adapted to a model that was trained by `trained`.

        None is the adaptation of the model's own training recipe: where the experiment does not set one, and where the
        model was trained by another recipe than the experiment's.
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
            "an experiment is a mapping of sections, each a mapping of settings",
            f"write its settings under {', '.join(sections)}",
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
    """Return whether the name of an experiment is that of a YAML file."""
    return name is not None and name.endswith((".yaml", ".yml"))


def find_experiment(dataset: str | None, name: str | None) -> Experiment:
    """Return an experiment by its name or file; one without settings for files and data sets without experiments.

    Parameters
    ----------
    dataset
        The data set's name, or None for files.
    name
        One of the data set's experiments in the package, as `default` or `paper`, or a YAML file, whose settings
        replace those of `default`. None is `default`.
    """
    if name is not None and is_file(name):
        return _packaged(dataset, "default").merge(**asdict(read_experiment(name)))
    known = list(dict.fromkeys(["default", *packaged_names(dataset)]))
    if name is not None and name not in known:
        of = "files have" if dataset is None else f"data set {dataset} has"
        raise ConfigError(
            f"{of} no experiment {name!r}",
            f"choose {' or '.join(known)}, or give a YAML file; how to train is chosen by --recipe",
            argument="experiment",
        )
    return _packaged(dataset, name or "default")


def packaged_names(dataset: str | None) -> list[str]:
    """Return the names of a data set's experiments in the package."""
    start = f"{dataset}-"
    found = sorted(entry.name for entry in (files("lorerm") / _FOLDER).iterdir() if entry.name.endswith(".yaml"))
    return [name[len(start) : -len(".yaml")] for name in found if name.startswith(start)]


def _packaged(dataset: str | None, name: str) -> Experiment:
    path = files("lorerm") / _FOLDER / f"{dataset}-{name}.yaml"
    return read_experiment(str(path)) if dataset is not None and path.is_file() else Experiment()


def stored_experiment(run: Path) -> Experiment:
    """Return the experiment that a run stores; one without settings where it stores none."""
    paths = [path for name in (EXPERIMENT, EXPERIMENT_BEFORE) if (path := run / name).exists()]
    return read_experiment(paths[0]) if paths else Experiment()
