"""A recipe is one file and one registered line: a made-up one trains, saves, adapts and evaluates."""

import sys

import pytest
import torch

from lorerm import AdaptationConfig, LowRankRewardModel, TrainingConfig, adapt, evaluate, split, train
from lorerm.cli import main
from lorerm.errors import ConfigError
from lorerm.training.recipes import Recipe, find_recipe
from lorerm.training.registry import RECIPES, load_recipe
from planted import plant
from refusals import refused

MADE_UP = '''
import torch

from lorerm.model.prior import WeightPrior
from lorerm.training.recipes import Recipe
from lorerm.training.trainer import Trained, Trainer


class MeanDifference(Trainer):
    """The basis is the mean difference, and the first features."""

    def _fit(self, rank, progress):
        return self._result(self.pairs, rank, self.validate(rank))

    def _score(self, rank, validation):
        result = self._result(validation.train, rank, None)
        rows = validation.train.n_users + (validation.few_shot.n_users if validation.few_shot else 0)
        margins = validation.margins(result.basis.t().contiguous(), torch.ones(rows, rank))
        return validation.score(margins, 1.0)

    def _result(self, pairs, rank, score):
        mean = self.config.alpha * pairs.pull_back(torch.full((len(pairs), 1), 1 / len(pairs)))
        basis = torch.cat([mean, torch.eye(pairs.matrix.shape[1])[: rank - 1]]).t().contiguous()
        prior = WeightPrior(torch.ones(rank).double(), torch.eye(rank).double())
        covariance = torch.eye(rank).expand(pairs.n_users, -1, -1)
        return Trained(basis, torch.ones(pairs.n_users, rank), prior, 1.0, score, covariance)


class MadeUp(Recipe):
    training_settings = frozenset({"alpha"})
    weight_space = "free"

    def trainer(self, data, config, reference):
        return MeanDifference(data, config, reference)


RECIPE = MadeUp()
'''


@pytest.fixture
def made_up(tmp_path, monkeypatch):
    """The recipe's file, on the path, and its line in the registry."""
    (tmp_path / "made_up_recipe.py").write_text(MADE_UP)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(RECIPES, "made-up", "made_up_recipe")
    yield
    sys.modules.pop("made_up_recipe", None)


@pytest.mark.usefixtures("made_up")
def test_one_file_and_one_line_make_a_recipe(tmp_path):
    splits = split(plant(users=12, pairs=30, dimension=8, prompts=150).data)
    config = TrainingConfig(rank=2, recipe="made-up", alpha=2.0)
    model = train(splits.train_seen, config)
    assert model.training["config"]["recipe"] == "made-up"
    assert model.training["validation"]["n_users"] > 0
    model.save_pretrained(tmp_path / "model", include_users=True)
    loaded = LowRankRewardModel.from_pretrained(tmp_path / "model")
    assert torch.equal(loaded.basis, model.basis)
    assert adapt(loaded, splits.train_unseen).covariance is not None
    report = evaluate(loaded, splits).to_dict()
    assert report["config"]["training"]["recipe"] == "made-up"
    assert {1, 2} <= {row["rank"] for row in report["ranks"]}


@pytest.mark.usefixtures("made_up")
def test_a_registered_recipe_is_checked_and_offered():
    with refused(ConfigError, "'made-up'", argument="steps"):
        TrainingConfig(recipe="made-up", steps=5)
    with refused(ConfigError, "'made-up'", argument="recipe"):
        AdaptationConfig(recipe="made-up")
    with refused(ConfigError, "'papre'", "made-up", argument="recipe"):
        TrainingConfig(recipe="papre")


@pytest.mark.usefixtures("made_up")
def test_the_commands_help_lists_a_registered_recipe(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    assert "made-up" in capsys.readouterr().out


@pytest.mark.parametrize("name", RECIPES)
def test_every_registered_recipe_is_complete(name):
    recipe = find_recipe(name)
    assert recipe is load_recipe(name)
    assert isinstance(recipe, Recipe)
    assert recipe.weight_space in ("free", "simplex")
    assert recipe.training_settings <= {"steps", "learning_rate", "alpha"}


def test_an_unknown_recipe_is_refused():
    with refused(ConfigError, "'papre'", *RECIPES, argument="recipe"):
        load_recipe("papre")
