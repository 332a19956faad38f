"""The common part of all trainers: rank 0, cached scores, and data without a validation split."""

import pytest
import torch

from lorerm.errors import ConfigError
from lorerm.training.config import TrainingConfig
from lorerm.training.trainer import Trained, Trainer
from lorerm.training.validation import best_temperature
from planted import plant
from refusals import refused


class FirstFeatures(Trainer):
    """A trainer whose basis is the first features, with equal weights."""

    def _fit(self, rank, progress):
        weights = torch.ones(self.pairs.n_users, rank)
        return Trained(torch.eye(self.pairs.matrix.shape[1])[:, :rank], weights, None, 1.0, self.validate(rank))

    def _score(self, rank, validation):
        self.scored.append(rank)
        return validation.score(validation.held_out.project(torch.eye(6)[:rank]).sum(dim=1), 1.0)


def trainer(data, reference=None, **settings):
    made = FirstFeatures(data, TrainingConfig(**settings), reference)
    made.scored = []
    return made


@pytest.fixture(scope="module")
def data():
    return plant(users=8, pairs=20, dimension=6, prompts=100).data


def test_rank_zero_is_the_reference_head_at_its_best_temperature(data):
    head = torch.arange(6).float()
    made = trainer(data, head)
    found = made.fit(0)
    assert torch.equal(found.basis[:, 0], head)
    assert (found.weights == 1).all()
    assert (found.covariance == 0).all()
    assert found.temperature == best_temperature(made.pairs.project(head[None])[:, 0], made.pairs.weight)
    margins = made.validation.held_out.project(head[None])[:, 0]
    assert found.score.loss == made.validation.score(margins, found.temperature).loss
    assert made.scored == []


def test_rank_zero_without_a_reference_head_is_refused(data):
    with refused(ConfigError, "rank 0", argument="rank"):
        trainer(data).fit(0)


def test_each_rank_is_scored_once(data):
    made = trainer(data)
    assert made.fit(2).score is made.validate(2)
    assert made.validate(1) is made.validate(1)
    assert made.scored == [2, 1]


def test_without_a_validation_split_there_is_no_score(data):
    made = trainer(data.select([0]))
    assert made.validation is None
    assert made.validate(1) is None
    assert made.fit(1).score is None


def test_the_seed_of_the_configuration_decides_the_validation_split(data):
    held_out = [trainer(data, seed=seed).validation.held_out for seed in (0, 0, 1)]
    assert held_out[0].user_ids == held_out[1].user_ids
    assert len(held_out[0]) != len(held_out[2]) or held_out[0].user_ids != held_out[2].user_ids
