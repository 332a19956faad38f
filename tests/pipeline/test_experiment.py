"""Experiments: the packaged files have every published constant, and given settings replace settings of the file."""

from __future__ import annotations

import inspect
from dataclasses import fields

import pytest
import yaml

from lorerm.data.datasets import DATASETS, read_dataset
from lorerm.data.splits import assign_splits
from lorerm.errors import ConfigError, DataError
from lorerm.pipeline.experiment import (
    Experiment,
    SplitConfig,
    find_experiment,
    packaged_names,
    read_experiment,
    stored_experiment,
)
from lorerm.training.config import AdaptationConfig, TrainingConfig
from lorerm.training.recipes import find_recipe
from refusals import refused

PACKAGED = [(dataset, name) for dataset in DATASETS for name in packaged_names(dataset)]
MODEL = "Skywork/Skywork-Reward-Llama-3.1-8B-v0.2"


def test_the_defaults_of_the_split_are_those_of_the_library():
    parameters = inspect.signature(assign_splits).parameters
    assert {field.name: field.default for field in fields(SplitConfig)} == {
        field.name: parameters[field.name].default for field in fields(SplitConfig)
    }


def test_every_published_data_set_has_experiments():
    assert {dataset: packaged_names(dataset) for dataset in DATASETS} == {
        "simulated": [],
        "polis": [],
        "tldr": ["default", "paper", "shots"],
        "prism": ["default", "paper"],
        "personalllm": ["default", "paper"],
        "community-alignment": ["default"],
    }


@pytest.mark.parametrize(("dataset", "name"), PACKAGED)
def test_every_packaged_experiment_has_settings_that_its_steps_take(dataset, name, tmp_path):
    found = find_experiment(dataset, name)
    SplitConfig(**found.split)
    found.adaptation(found.training()[0])
    assert found.embed["model"] == MODEL
    with refused(DataError, str(tmp_path / "nothing")):  # the missing folder, and no option of the data set
        read_dataset(dataset, data=tmp_path / "nothing", **found.data)


def test_tldr_as_published():
    experiment = find_experiment("tldr", "paper")
    assert experiment.split == {"unseen_users": 0.5, "max_pairs_seen": 150, "max_pairs_unseen": 50}
    config = TrainingConfig(recipe="paper", steps=1000, learning_rate=0.5, alpha=0.0)
    assert experiment.training() == (config, [0, 1, 2, 3, 4, 5, 6], None)
    assert experiment.adaptation(config) == AdaptationConfig(recipe="paper", steps=500, learning_rate=0.1)


def test_tldr_few_shot_curve_as_published():
    experiment, main = find_experiment("tldr", "shots"), find_experiment("tldr", "paper")
    assert experiment.shots == {"rank": 5, "shots": list(range(5, 55, 5)), "trials": 20}
    assert experiment.split == {**main.split, "max_pairs_unseen": 100}
    assert experiment.train == {**main.train, "ranks": [5], "steps": 500}
    assert (experiment.data, experiment.adapt, experiment.embed) == (main.data, main.adapt, main.embed)


def test_prism_as_published():
    experiment = find_experiment("prism", "paper")
    assert experiment.split == {"seed": 123, "unseen_users": 0.2, "test_prompts": 0.5}
    config = TrainingConfig(recipe="paper-cosine", steps=20_000, learning_rate=0.5, alpha=1e4)
    assert experiment.training() == (config, [0, 1, 5, 10, 15, 20, 25, 50], None)
    assert experiment.adaptation(config) == AdaptationConfig(recipe="paper", steps=500, learning_rate=0.5)
    assert experiment.embed["attn"] == "eager"
    assert experiment.data == {"published_format": False}


def test_personalllm_as_published():
    experiment = find_experiment("personalllm", "paper")
    assert experiment.data == {
        "seen_users": 1000,
        "unseen_users": 500,
        "concentration": 0.1,
        "seen_share": 0.005,
        "unseen_share": 0.001,
    }
    config = TrainingConfig(recipe="paper", steps=1000, learning_rate=0.5, alpha=0.0)
    assert experiment.training() == (config, [0, 1, 2, 3, 4, 5], None)
    assert experiment.adaptation(config) == AdaptationConfig(recipe="paper", steps=500, learning_rate=0.1)


@pytest.mark.parametrize("dataset", ["tldr", "prism", "personalllm"])
def test_the_constants_of_a_published_experiment_are_those_of_its_recipe(dataset):
    """They are written out in the file, and equal what the recipe takes without the file."""
    experiment = find_experiment(dataset, "paper")
    config = experiment.training()[0]
    recipe = find_recipe(config.recipe)
    assert (config.steps, config.learning_rate, config.alpha) == (recipe.steps, recipe.learning_rate, recipe.alpha)
    assert experiment.adaptation(config) == recipe.adaptation(config)


def test_given_settings_replace_those_of_the_file():
    experiment = find_experiment("tldr", "paper").merge(train={"steps": 7, "ranks": [2]}, split={"seed": 3})
    assert experiment.train["steps"] == 7
    assert experiment.train["learning_rate"] == 0.5
    assert experiment.train["ranks"] == [2]
    assert experiment.split == {"unseen_users": 0.5, "max_pairs_seen": 150, "max_pairs_unseen": 50, "seed": 3}


def test_another_recipe_drops_the_settings_of_the_experiments_own():
    experiment = find_experiment("prism", "paper").merge(train={"recipe": "default"})
    config, ranks, alphas = experiment.training()
    assert config == TrainingConfig()
    assert (ranks[:2], alphas, experiment.adaptation(config)) == ([0, 1], None, None)
    other = find_experiment("prism", "paper").merge(train={"recipe": "paper", "steps": 3})
    assert other.train == {"recipe": "paper", "steps": 3, "ranks": ranks}
    assert find_experiment("tldr", None).merge(train={"recipe": "paper-cosine"}).train == {
        "ranks": [0, 1, 2, 3, 4, 5, 6],
        "recipe": "paper-cosine",
    }


def test_the_same_recipe_keeps_the_settings():
    experiment = find_experiment("prism", "paper")
    assert experiment.merge(train={"recipe": "paper-cosine"}) == experiment


def test_several_alphas_are_kept_apart_from_the_configuration():
    config, _, alphas = find_experiment("prism", "paper").merge(train={"alphas": [0, 1e4]}).training()
    assert (config.alpha, alphas) == (None, [0.0, 10000.0])


def test_adaptation_takes_the_seed_of_training():
    experiment = find_experiment("tldr", "paper").merge(train={"seed": 4})
    assert experiment.adaptation(experiment.training()[0]).seed == 4


def test_a_model_of_another_recipe_is_adapted_by_its_own():
    experiment = find_experiment("prism", "paper")
    assert experiment.adaptation(TrainingConfig(seed=2)) is None
    assert experiment.merge(adapt={"steps": 3}).adaptation(experiment.training()[0]).steps == 3


def test_a_file_replaces_settings_of_the_default(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("train:\n  ranks: [1]\ndata:\n  concentration: 10\n")
    experiment = find_experiment("personalllm", str(path))
    assert experiment.train == {"ranks": [1]}
    assert (experiment.data["concentration"], experiment.data["seen_users"]) == (10, 1000)
    assert find_experiment(None, str(path)).train == {"ranks": [1]}


def test_stored_in_a_run_and_read_again(tmp_path):
    experiment = find_experiment("prism", "paper")
    experiment.write(tmp_path)
    assert stored_experiment(tmp_path) == experiment
    assert yaml.safe_load((tmp_path / "experiment.yaml").read_text())["train"]["alphas"] == [10000]
    assert stored_experiment(tmp_path / "elsewhere") == Experiment()


def test_a_run_of_an_earlier_version_has_its_settings_in_recipe_yaml(tmp_path):
    before = Experiment(train={"recipe": "paper", "steps": 3})
    before.write(tmp_path)
    (tmp_path / "experiment.yaml").rename(tmp_path / "recipe.yaml")
    assert stored_experiment(tmp_path) == before
    after = before.merge(train={"steps": 4})
    after.write(tmp_path)
    assert stored_experiment(tmp_path) == after
    assert [path.name for path in tmp_path.iterdir()] == ["experiment.yaml"]


def test_files_and_data_sets_without_experiments_have_no_settings():
    for dataset, name in ((None, None), (None, "default"), ("simulated", None)):
        assert find_experiment(dataset, name) == Experiment()


@pytest.mark.parametrize(
    ("content", "names", "argument"),
    [
        ("train: [", (), None),
        ("- 1", (), None),
        ("train: 3", (), None),
        ("trian: {}", ("'trian'", "train"), "trian"),
        ("train: {step: 3}", ("'step'", "train", "steps"), "step"),
        ("!!python/object/apply:os.system ['true']", (), None),
    ],
)
def test_a_bad_file_is_named_with_its_section_or_setting(tmp_path, content, names, argument):
    (tmp_path / "r.yaml").write_text(content)
    with refused(ConfigError, *names, file=str(tmp_path / "r.yaml"), argument=argument):
        read_experiment(tmp_path / "r.yaml")


@pytest.mark.parametrize(
    ("dataset", "name", "known"),
    [("tldr", "papre", ("default", "paper", "shots")), (None, "paper", ("default",)), ("prism", "paper-cosine", ())],
)
def test_an_unknown_experiment_is_refused_with_the_known_ones(dataset, name, known):
    """A training recipe is none; the error names the option that takes it."""
    with refused(ConfigError, repr(name), *known, "--recipe", argument="experiment"):
        find_experiment(dataset, name)
