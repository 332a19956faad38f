"""The recipe `paper-cosine`: published constants, its reference head, and its adaptation."""

import pytest
import torch

from lorerm.errors import ConfigError
from lorerm.training import paper
from lorerm.training.config import AdaptationConfig, TrainingConfig
from lorerm.training.recipes import adaptation_for, find_recipe
from lorerm.training.train import train
from planted import plant
from refusals import refused

RECIPE = find_recipe("paper-cosine")


@pytest.fixture(scope="module")
def data():
    return plant(users=8, pairs=20, dimension=6, prompts=100).data


def test_the_published_constants():
    assert (RECIPE.steps, RECIPE.learning_rate, RECIPE.alpha) == (20_000, 0.5, 1e4)
    assert (RECIPE.few_shot_steps, RECIPE.few_shot_learning_rate) == (500, 0.5)


def test_its_adaptation_is_that_of_paper_at_its_own_learning_rate():
    expected = AdaptationConfig(recipe="paper", steps=500, learning_rate=0.5)
    assert adaptation_for(TrainingConfig(recipe="paper-cosine")) == expected


@pytest.mark.parametrize("alpha", [None, 0.0])
def test_a_reference_head_is_always_needed(data, alpha):
    config = TrainingConfig(rank=1, recipe="paper-cosine", alpha=alpha)
    assert RECIPE.needs_reference(config)
    with refused(ConfigError, "'paper-cosine'", argument="reference"):
        train(data, config)


def test_training_is_the_alternating_fit_with_the_published_settings(data):
    head = torch.ones(6)
    fit = RECIPE.trainer(data, TrainingConfig(recipe="paper-cosine"), head)._fit_basis
    assert fit.func is paper.fit_cosine
    assert fit.keywords == {"steps": 20_000, "learning_rate": 0.5, "alpha": 1e4, "reference": head}
