"""Values that configurations refuse, and the settings that each recipe takes."""

import subprocess
import sys
from dataclasses import FrozenInstanceError, asdict

import pytest

from lorerm.errors import ConfigError
from lorerm.training.config import AdaptationConfig, TrainingConfig
from lorerm.training.registry import RECIPES
from refusals import refused

NAN = float("nan")


@pytest.mark.parametrize(
    ("settings", "argument", "name"),
    [
        ({"recipe": "papre"}, "recipe", "default, paper, paper-cosine"),
        ({"rank": -1}, "rank", "-1"),
        ({"rank": 2.0}, "rank", "2.0"),
        ({"rank": True}, "rank", "True"),
        ({"rank": "all"}, "rank", "'all'"),
        ({"steps": 0}, "steps", "0"),
        ({"recipe": "paper", "learning_rate": 0.0}, "learning_rate", "0.0"),
        ({"recipe": "paper", "learning_rate": NAN}, "learning_rate", "nan"),
        ({"recipe": "paper", "alpha": -1.0}, "alpha", "-1.0"),
        ({"recipe": "paper", "alpha": NAN}, "alpha", "nan"),
        ({"alpha": 1.0}, "alpha", "'default'"),
        ({"learning_rate": 0.1}, "learning_rate", "'default'"),
    ],
)
def test_training_refuses(settings, argument, name):
    with refused(ConfigError, name, argument=argument):
        TrainingConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "argument", "name"),
    [
        ({"recipe": "papre"}, "recipe", "'papre'"),
        ({"recipe": "paper-cosine"}, "recipe", "'paper-cosine'"),
        ({"recipe": "paper", "steps": 0}, "steps", "0"),
        ({"recipe": "paper", "learning_rate": -1.0}, "learning_rate", "-1.0"),
        ({"steps": 5}, "steps", "'default'"),
        ({"learning_rate": 0.1}, "learning_rate", "'default'"),
    ],
)
def test_adaptation_refuses(settings, argument, name):
    with refused(ConfigError, name, argument=argument):
        AdaptationConfig(**settings)


def test_a_recipe_without_an_adaptation_names_those_with_one():
    with refused(ConfigError, "default, paper", argument="recipe") as caught:
        AdaptationConfig(recipe="paper-cosine")
    assert "paper-cosine" not in caught.value.remedy


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("rank", [0, 1, 7, "auto"])
def test_every_recipe_takes_every_rank_and_steps(recipe, rank):
    config = TrainingConfig(rank=rank, recipe=recipe, steps=10)
    assert TrainingConfig(**asdict(config)) == config


def test_configurations_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        TrainingConfig().rank = 3
    with pytest.raises(FrozenInstanceError):
        AdaptationConfig().seed = 3


def test_configurations_of_every_recipe_import_no_torch():
    """Help texts and checks of settings are instant."""
    code = (
        "import sys\n"
        "from lorerm.training.config import AdaptationConfig, TrainingConfig\n"
        "from lorerm.training.registry import RECIPES\n"
        "from lorerm.training.recipes import adaptation_for\n"
        "[adaptation_for(TrainingConfig(recipe=name)) for name in RECIPES]\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
