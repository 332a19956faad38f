"""All steps of a run by one call from Python; `tests/cli/test_run.py` tests `lorerm run`."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext

import pytest

from lorerm import HashingEncoder
from lorerm.errors import ConfigError
from lorerm.pipeline.experiment import Experiment
from lorerm.pipeline.run import left_out_ranks, report, run_experiment
from lorerm.pipeline.sources import Source
from refusals import refused
from small_choices import choices, contents, write_lines


@pytest.fixture
def source(tmp_path):
    """The small choices, with ranks of which the data allow 1 and 2."""
    path = str(write_lines(tmp_path / "choices.jsonl", choices()))
    return Source([path], Experiment(train={"ranks": [0, 1, 2, 50]}))


def test_one_call_makes_the_same_run_as_its_steps(source, tmp_path, finished):
    calls = []

    @contextmanager
    def encoder():
        calls.append("opened")
        yield HashingEncoder
        calls.append("closed")

    run = run_experiment(
        tmp_path / "run",
        source,
        encoder(),
        {"model": None},
        strict=False,
        progress=lambda stage, done, total: calls.append(stage),
        on_prepared=lambda found: calls.append(found["n_pairs"]),
    )
    assert left_out_ranks(run, source.experiment) == [0, 50]
    stages = list(dict.fromkeys(calls))
    assert stages[:5] == ["reading", run.result("prepare")["n_pairs"], "opened", "loading the encoder", "embedding"]
    assert stages.index("closed") < stages.index("rank 1"), "an encoder's memory is free before training"
    expected = contents(finished.path)
    made = contents(run.path)
    assert {name for name in expected if made[name] != expected[name]} <= {
        name for name in expected if name.startswith("report/")
    }, "the report has the few-shot curve, too"
    assert "shots.json" in made


def test_settings_are_refused_before_a_folder_is_made(source, tmp_path):
    encoder = nullcontext(HashingEncoder)
    with refused(ConfigError, "0", argument="seeds"):
        run_experiment(tmp_path / "run", source, encoder, {"model": None}, seeds=0)
    with refused(ConfigError, "-1"):
        run_experiment(tmp_path / "run", Source(source.inputs, Experiment(train={"steps": -1})), encoder, {})
    assert not (tmp_path / "run").exists()


def test_the_report_has_further_seeds_and_the_default_few_shot_curve(run):
    report(run, 2)
    assert run.result("seeds")["seeds"] == [0, 1]
    assert run.is_finished("shots")
    assert run.is_finished("report")
