"""Recipe files: the packaged ones hold every published constant, and what is given goes before what they say."""

from __future__ import annotations

import pytest
import yaml

from lorerm.data.datasets import DATASETS, read_dataset
from lorerm.errors import ConfigError
from lorerm.pipeline.config import SplitConfig
from lorerm.pipeline.experiment import Recipe, find_recipe, packaged_names, read_recipe, stored_recipe, training
from lorerm.training import paper
from lorerm.training.config import AdaptationConfig, TrainingConfig

PACKAGED = [(name, recipe) for name in DATASETS for recipe in packaged_names(name)]
MODEL = "Skywork/Skywork-Reward-Llama-3.1-8B-v0.2"


def test_every_published_data_set_has_its_recipes():
    names = {name: packaged_names(name) for name in DATASETS}
    assert names == {
        "simulated": [],
        "tldr": ["default", "paper", "shots"],
        "prism": ["default", "paper"],
        "personalllm": ["default", "paper"],
        "community-alignment": ["default"],
    }


@pytest.mark.parametrize(("name", "recipe"), PACKAGED)
def test_every_packaged_recipe_can_be_used(name, recipe, tmp_path):
    found = find_recipe(name, recipe)
    SplitConfig(**found.split)
    found.adaptation(training(found)[0])
    assert found.embed["model"] == MODEL
    with pytest.raises(Exception, match="does not exist"):  # and not: has no such option
        read_dataset(name, data=tmp_path / "nothing", **found.data)


def test_tldr_as_published():
    recipe = find_recipe("tldr", "paper")
    assert recipe.split == {"unseen_users": 0.5, "max_pairs_seen": 150, "max_pairs_unseen": 50}
    assert training(recipe) == (
        TrainingConfig(recipe="paper", steps=1000, learning_rate=0.5, alpha=0.0),
        [0, 1, 2, 3, 4, 5, 6],
        None,
    )
    assert recipe.adaptation(training(recipe)[0]) == AdaptationConfig(recipe="paper", steps=500, learning_rate=0.1)


def test_tldr_few_shot_sweep_as_published():
    recipe, main = find_recipe("tldr", "shots"), find_recipe("tldr", "paper")
    assert recipe.shots == {"rank": 5, "shots": list(range(5, 55, 5)), "trials": 20}
    assert recipe.split == {**main.split, "max_pairs_unseen": 100}
    assert recipe.train == {**main.train, "ranks": [5], "steps": 500}
    assert (recipe.data, recipe.adapt, recipe.embed) == (main.data, main.adapt, main.embed)


def test_prism_as_published():
    recipe = find_recipe("prism", "paper")
    assert recipe.split == {"seed": 123, "unseen_users": 0.2, "test_prompts": 0.5}
    assert training(recipe) == (
        TrainingConfig(recipe="paper-cosine", steps=20_000, learning_rate=0.5, alpha=1e4),
        [0, 1, 5, 10, 15, 20, 25, 50],
        None,
    )
    assert recipe.adaptation(training(recipe)[0]) == AdaptationConfig(recipe="paper", steps=500, learning_rate=0.5)
    assert recipe.embed["attn"] == "eager"
    assert recipe.data == {"published_format": False}


def test_personalllm_as_published():
    recipe = find_recipe("personalllm", "paper")
    assert recipe.data == {
        "seen_users": 1000,
        "unseen_users": 500,
        "concentration": 0.1,
        "seen_share": 0.005,
        "unseen_share": 0.001,
    }
    assert training(recipe) == (
        TrainingConfig(recipe="paper", steps=1000, learning_rate=0.5, alpha=0.0),
        [0, 1, 2, 3, 4, 5],
        None,
    )
    assert recipe.adaptation(training(recipe)[0]) == AdaptationConfig(recipe="paper", steps=500, learning_rate=0.1)


@pytest.mark.parametrize("name", ["tldr", "prism", "personalllm"])
def test_constants_are_those_of_the_training_recipe_itself(name):
    """Written out in the file, and the same as without it."""
    recipe = find_recipe(name, "paper")
    config = training(recipe)[0]
    assert config.steps == paper.JOINT_STEPS[config.recipe]
    assert config.learning_rate == paper.LEARNING_RATE
    assert config.alpha == paper.ALPHA[config.recipe]
    adaptation = recipe.adaptation(config)
    assert {"steps": adaptation.steps, "learning_rate": adaptation.learning_rate} == paper.few_shot_constants(
        config.recipe
    )


def test_given_settings_go_before_the_files():
    recipe = find_recipe("tldr", "paper").merge(train={"steps": 7, "ranks": [2]}, split={"seed": 3})
    assert recipe.train["steps"] == 7
    assert recipe.train["learning_rate"] == 0.5
    assert recipe.train["ranks"] == [2]
    assert recipe.split == {"unseen_users": 0.5, "max_pairs_seen": 150, "max_pairs_unseen": 50, "seed": 3}


def test_another_training_recipe_leaves_the_constants_behind():
    recipe = find_recipe("prism", "paper").merge(train={"recipe": "default"})
    config, ranks, alphas = training(recipe)
    assert config == TrainingConfig()
    assert (ranks[:2], alphas, recipe.adaptation(config)) == ([0, 1], None, None)
    assert find_recipe("tldr", "paper-cosine").train == {"ranks": [0, 1, 2, 3, 4, 5, 6], "recipe": "paper-cosine"}


def test_several_alphas_are_a_sweep():
    config, _, alphas = training(find_recipe("prism", "paper").merge(train={"alphas": [0, 1e4]}))
    assert (config.alpha, alphas) == (None, [0.0, 10000.0])


def test_adaptation_takes_the_seed_of_the_training():
    recipe = find_recipe("tldr", "paper").merge(train={"seed": 4})
    assert recipe.adaptation(training(recipe)[0]).seed == 4


def test_a_model_of_another_training_recipe_has_its_own_adaptation():
    recipe = find_recipe("prism", "paper")
    assert recipe.adaptation(TrainingConfig(seed=2)) is None
    assert recipe.merge(adapt={"steps": 3}).adaptation(training(recipe)[0]).steps == 3


def test_file_of_ones_own_on_top_of_the_default(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("train:\n  ranks: [1]\ndata:\n  concentration: 10\n")
    recipe = find_recipe("personalllm", str(path))
    assert recipe.train == {"ranks": [1]}
    assert (recipe.data["concentration"], recipe.data["seen_users"]) == (10, 1000)
    assert find_recipe(None, str(path)).train == {"ranks": [1]}


def test_written_into_a_run_and_read_again(tmp_path):
    recipe = find_recipe("prism", "paper")
    recipe.write(tmp_path)
    assert stored_recipe(tmp_path) == recipe
    assert yaml.safe_load((tmp_path / "recipe.yaml").read_text())["train"]["alphas"] == [10000]
    assert stored_recipe(tmp_path / "elsewhere") == Recipe()


def test_files_have_no_recipe_unless_told():
    assert find_recipe(None, None) == find_recipe("simulated", None) == Recipe()
    assert find_recipe(None, "paper") == Recipe(train={"recipe": "paper"})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("train: [", "cannot be read"),
        ("- 1", "not a mapping"),
        ("train: 3", "not a mapping"),
        ("trian: {}", "unknown section 'trian'"),
        ("train: {step: 3}", "unknown setting 'step' under train"),
        ("!!python/object/apply:os.system ['true']", "cannot be read"),
    ],
)
def test_bad_file_is_one_line(tmp_path, content, said):
    (tmp_path / "r.yaml").write_text(content)
    with pytest.raises(ConfigError, match=said):
        read_recipe(tmp_path / "r.yaml")


def test_unknown_recipe_lists_the_known():
    with pytest.raises(ConfigError, match="'papre' is not known: choose one of default, paper, shots, paper-cosine"):
        find_recipe("tldr", "papre")
