"""A run folder that is made once for all tests."""

from __future__ import annotations

import shutil

import pytest

from lorerm import HashingEncoder, TrainingConfig
from lorerm.pipeline import steps
from lorerm.pipeline.folder import RunFolder
from lorerm.pipeline.sources import Source
from small_choices import choices, write_lines


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished run of ranks 1 and 2, which no test may change."""
    folder = tmp_path_factory.mktemp("finished")
    run = RunFolder.create(folder / "run")
    steps.prepare(run, Source([str(write_lines(folder / "choices.jsonl", choices()))]))
    steps.embed(run, HashingEncoder, {"model": None})
    steps.train(run, TrainingConfig(), [1, 2])
    steps.report(run)
    return run


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the finished run."""
    return RunFolder.open(shutil.copytree(finished.path, tmp_path / "run"))
