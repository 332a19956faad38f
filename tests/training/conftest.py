"""Planted preferences and models trained on them, for several test files."""

import pytest

from lorerm.data.splits import split
from lorerm.training.config import TrainingConfig
from lorerm.training.train import train_ranks
from planted import plant


@pytest.fixture(scope="session")
def planted():
    """Thirty-two users whose preferences differ strongly along two directions."""
    return plant(users=32, pairs=60, dimension=16, personal=1.5, noise=0.3, prompts=1500, seed=1)


@pytest.fixture(scope="session")
def splits(planted):
    return split(planted.data, seed=1)


@pytest.fixture(scope="session")
def models(splits):
    """Ranks 1 to 4 of the default recipe."""
    return dict(train_ranks(splits.train_seen, [1, 2, 3, 4], TrainingConfig()))
