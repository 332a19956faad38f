"""What configurations refuse, and in which words."""

from dataclasses import FrozenInstanceError, asdict

import pytest

from lorerm.errors import ConfigError
from lorerm.training.config import RECIPES, AdaptationConfig, TrainingConfig


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"recipe": "papre"}, "recipe 'papre' is not known: choose one of default, paper, paper-cosine"),
        ({"rank": -1}, "rank -1 is not a rank"),
        ({"rank": 2.0}, "rank 2.0 is not a rank"),
        ({"rank": True}, "rank True is not a rank"),
        ({"rank": "all"}, "rank 'all' is not a rank"),
        ({"steps": 0}, "steps 0 is less than 1"),
        ({"recipe": "paper", "learning_rate": 0.0}, "learning_rate 0.0 is not positive"),
        ({"recipe": "paper", "learning_rate": float("nan")}, "learning_rate nan is not positive"),
        ({"recipe": "paper", "alpha": -1.0}, "alpha -1.0 is negative"),
        ({"recipe": "paper", "alpha": float("nan")}, "alpha nan is negative"),
        ({"alpha": 1.0}, "alpha has no meaning in the default recipe"),
        ({"learning_rate": 0.1}, "learning_rate has no meaning in the default recipe"),
    ],
)
def test_training_refuses(arguments, problem):
    with pytest.raises(ConfigError, match=problem):
        TrainingConfig(**arguments)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"recipe": "paper-cosine"}, "adaptation recipe 'paper-cosine' is not known"),
        ({"recipe": "paper", "steps": 0}, "steps 0 is less than 1"),
        ({"recipe": "paper", "learning_rate": -1.0}, "learning_rate -1.0 is not positive"),
        ({"steps": 5}, "have no meaning in the default adaptation"),
        ({"learning_rate": 0.1}, "have no meaning in the default adaptation"),
    ],
)
def test_adaptation_refuses(arguments, problem):
    with pytest.raises(ConfigError, match=problem):
        AdaptationConfig(**arguments)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("rank", [0, 1, 7, "auto"])
def test_training_takes_every_recipe_and_rank(recipe, rank):
    config = TrainingConfig(rank=rank, recipe=recipe, steps=10)
    assert TrainingConfig(**asdict(config)) == config


def test_configurations_do_not_change():
    with pytest.raises(FrozenInstanceError):
        TrainingConfig().rank = 3
    with pytest.raises(FrozenInstanceError):
        AdaptationConfig().seed = 3


def test_settings_are_compared_and_listed_as_scikit_learn_does():
    config = TrainingConfig(rank=3, seed=1)
    assert config.get_params() == {
        "rank": 3, "recipe": "default", "seed": 1, "steps": None, "learning_rate": None, "alpha": None
    }  # fmt: skip
    assert TrainingConfig(**config.get_params()) == config
    assert config != TrainingConfig(rank=3)
    assert AdaptationConfig(**AdaptationConfig(seed=2).get_params()) == AdaptationConfig(seed=2)
