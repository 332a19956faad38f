"""`lorerm rewardbench`: with a run, with a saved model, and with a transformer model as encoder."""

from __future__ import annotations

import numpy as np
import pytest

from lorerm.errors import ConfigError, UnknownUserError
from published_samples import rewardbench_rows, write_parquet
from small_choices import choices, write_lines
from tiny_models import TinyModels


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    rows = rewardbench_rows(np.random.default_rng(0))
    return write_parquet(tmp_path_factory.mktemp("rb2") / "test-00000-of-00001.parquet", rows)


def test_of_a_run(lorerm, refuses, run, benchmark):
    outcome = lorerm("rewardbench", run, "--data", benchmark, "--users", "user-00", "--rank", 2)
    assert outcome.code == 0, outcome.err
    assert "| user user-00 |" in outcome.out
    assert (run / "rewardbench" / "rewardbench.csv").read_text().startswith("scorer,Factuality,Precise IF,Math")
    names = ["'nobody'", f"`lorerm adapt {run} --data FILE`"]
    refuses("rewardbench", run, "--data", benchmark, "--users", "nobody", error=UnknownUserError, names=names)
    refuses("rewardbench", run, "--data", "nowhere", names=["nowhere"])


def test_of_a_saved_model(lorerm, refuses, run, benchmark, tmp_path):
    model = run / "models" / "rank-2"
    given = ("rewardbench", model, "--data", benchmark)
    assert lorerm(*given, "--out", tmp_path / "rb").code == 0
    of_run = lorerm("rewardbench", run, "--data", benchmark, "--rank", 2)
    assert of_run.code == 0
    texts = [(place / "rewardbench.md").read_text() for place in (tmp_path / "rb", run / "rewardbench")]
    assert texts[0] == texts[1]
    refuses(*given, error=ConfigError, argument="out")
    refuses(*given, "--out", tmp_path / "rb", "--rank", 1, error=ConfigError, argument="rank")


def test_reference_head_and_mixtures_of_a_reward_model(lorerm, tmp_path, benchmark):
    rows = [{**row, "chosen": row["chosen"][:30], "rejected": row["rejected"][:30]} for row in choices(3, 6)]
    model = TinyModels(tmp_path / "models").folder()
    run = tmp_path / "run"
    data = write_lines(tmp_path / "few.jsonl", rows)
    assert lorerm("run", data, "--out", run, "--model", model, "--ranks", 1).code == 0
    outcome = lorerm("rewardbench", run, "--data", benchmark)
    assert outcome.code == 0, outcome.err
    assert any(line.startswith("| reference head |") for line in outcome.out.splitlines())
    assert any(line.startswith("| basis 1 |") for line in outcome.out.splitlines())
