"""The recipe `paper`: published constants, its settings, and its adaptation."""

import pytest
import torch

from lorerm.errors import ConfigError
from lorerm.training.config import AdaptationConfig, TrainingConfig
from lorerm.training.recipes import adaptation_for, find_recipe
from lorerm.training.train import train
from planted import plant
from refusals import refused

RECIPE = find_recipe("paper")


@pytest.fixture(scope="module")
def data():
    return plant(users=8, pairs=20, dimension=6, prompts=100).data


def test_the_published_constants():
    assert (RECIPE.steps, RECIPE.learning_rate, RECIPE.alpha) == (1000, 0.5, 0.0)
    assert (RECIPE.few_shot_steps, RECIPE.few_shot_learning_rate) == (500, 0.1)


def test_its_adaptation_is_the_published_few_shot_stage():
    expected = AdaptationConfig(recipe="paper", seed=4, steps=500, learning_rate=0.1)
    assert adaptation_for(TrainingConfig(recipe="paper", seed=4)) == expected
    assert not RECIPE.quick_adaptation


def test_a_reference_head_is_needed_for_a_positive_alpha_alone(data):
    plain, regularised = (TrainingConfig(rank=1, recipe="paper", alpha=alpha, steps=1) for alpha in (None, 0.5))
    assert not RECIPE.needs_reference(plain)
    assert RECIPE.needs_reference(regularised)
    assert train(data, plain).reference is None
    assert train(data, regularised, torch.ones(6)).reference is not None
    with refused(ConfigError, "'paper'", argument="reference"):
        train(data, regularised)


def test_settings_replace_the_published_ones(data):
    fit = RECIPE.trainer(data, TrainingConfig(recipe="paper", steps=7, learning_rate=0.2), None)._fit_basis
    assert (fit.keywords["steps"], fit.keywords["learning_rate"], fit.keywords["alpha"]) == (7, 0.2, 0.0)
    fit = RECIPE.trainer(data, TrainingConfig(recipe="paper"), None)._fit_basis
    assert (fit.keywords["steps"], fit.keywords["learning_rate"]) == (1000, 0.5)


def test_comparisons_are_stored_as_differences(data):
    many = data.select(list(range(len(data))) * 5)
    trainer = RECIPE.trainer(many, TrainingConfig(recipe="paper"), None)
    assert trainer.pairs.rows is trainer.validation.train.rows is None
