"""One small planted population, split, with models of three ranks: shared by the tests of the evaluation."""

from __future__ import annotations

import pytest

from lorerm.data.splits import split
from lorerm.evaluation.measured import Measured
from lorerm.training.config import TrainingConfig
from lorerm.training.train import train_ranks
from planted import plant


@pytest.fixture(scope="package")
def cells():
    return split(plant(users=30, pairs=30, dimension=8, personal=2, noise=0.3, prompts=60).data)


@pytest.fixture(scope="package")
def models(cells):
    return dict(train_ranks(cells.train_seen, [1, 2, 3], TrainingConfig()))


@pytest.fixture(scope="package")
def measured(models, cells):
    return Measured.of(models, cells)
