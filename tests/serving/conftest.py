"""A small model in a folder, servers with this model, and both databases (SQLite and PostgreSQL)."""

from __future__ import annotations

import itertools
import os
import sys
from contextlib import ExitStack

import numpy as np
import pytest
import torch

from lorerm import HashingEncoder, LowRankRewardModel, UserWeights
from lorerm.model.prior import WeightPrior
from lorerm.model.projected import ProjectedComparisons
from lorerm.serving.settings import Settings

RANK = 3


@pytest.fixture(scope="session")
def model():
    """A model on the built-in encoder with two users: one with comparisons, and one with a posterior only."""
    rng = np.random.default_rng(0)
    identity = HashingEncoder().identity
    basis = torch.from_numpy(rng.standard_normal((identity.dimension, RANK)).astype(np.float32))
    empty = LowRankRewardModel(
        basis=basis,
        weights=torch.zeros(0, RANK),
        user_ids=(),
        prior=WeightPrior(torch.tensor([1.0, 0.0, -0.5]).double(), torch.diag(torch.tensor([1.0, 2.0, 0.5])).double()),
        temperature=4.0,
        requested_rank=RANK,
        covariance=torch.zeros(0, RANK, RANK),
        encoder=identity,
    )
    projected = torch.from_numpy(rng.standard_normal((6, RANK)).astype(np.float32))
    comparisons = ProjectedComparisons(projected, torch.ones(6), torch.tensor([0, 0, 0, 1, 1, 1]))
    users = UserWeights.none(empty).add(["trained", "posterior only"], comparisons, empty.prior, empty.temperature)
    kept = comparisons.take(torch.tensor([0]))
    return empty.with_users(UserWeights(users.user_ids, users.weights, users.covariance, kept))


@pytest.fixture
def folder(model, tmp_path):
    """The model's folder, with its users."""
    model.save_pretrained(tmp_path / "model", include_users=True)
    return tmp_path / "model"


@pytest.fixture
def settings(folder, tmp_path):
    """Settings of a server of the model on SQLite."""
    return Settings(str(folder), f"sqlite:///{tmp_path / 'feedback.sqlite'}", encoder={"model": None})


@pytest.fixture
def start():
    """Start servers that run until the test ends, and return clients of them."""
    from servers import running

    with ExitStack() as until_end:
        yield lambda settings, **client: until_end.enter_context(running(settings, **client))


@pytest.fixture(scope="session")
def reader(model, tmp_path_factory):
    """A client of a server that all tests share; they must not change its users."""
    from servers import running

    folder = tmp_path_factory.mktemp("shared")
    model.save_pretrained(folder / "model", include_users=True)
    settings = Settings(str(folder / "model"), f"sqlite:///{folder / 'feedback.sqlite'}", encoder={"model": None})
    with running(settings) as client:
        yield client


@pytest.fixture
def client(start, settings):
    """A client of a server of the model."""
    return start(settings)


@pytest.fixture(scope="session")
def postgresql():
    """A PostgreSQL cluster, if PostgreSQL is installed; in CI it must be."""
    from servers import PostgreSQL, find_postgresql

    programs = find_postgresql()
    if programs is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("PostgreSQL is not installed on this machine")
    cluster = PostgreSQL(programs)
    yield cluster
    cluster.remove()


@pytest.fixture
def show_figures(capsys):
    """Print figures if the environment asks for more than the default tests."""
    asked = {"LORERM_KILLS", "LORERM_FUZZ"} & os.environ.keys()

    def show(line: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{line}\n")

    return show if asked else lambda line: None


_numbers = itertools.count()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """The URL of a new database, of each type in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'feedback.sqlite'}"
    return request.getfixturevalue("postgresql").url(f"test{next(_numbers)}")
