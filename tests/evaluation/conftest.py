"""One small planted population, split, with models of three ranks: shared by the tests of the evaluation."""

from __future__ import annotations

import pytest

from lorerm.data.splits import split
from lorerm.evaluation.evaluate import describe
from lorerm.evaluation.predictions import predict
from lorerm.training.config import TrainingConfig
from lorerm.training.train import train_ranks
from planted import plant


@pytest.fixture(scope="package")
def splits():
    return split(plant(users=30, pairs=30, dimension=8, personal=2, noise=0.3, prompts=60).data)


@pytest.fixture(scope="package")
def models(splits):
    return dict(train_ranks(splits.train_seen, [1, 2, 3], TrainingConfig()))


@pytest.fixture(scope="package")
def predictions(models, splits):
    return predict(models, splits)


@pytest.fixture(scope="package")
def report(predictions):
    return describe(predictions)
