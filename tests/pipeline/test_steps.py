"""The steps, called from Python; the command's tests go through them as well."""

from __future__ import annotations

import json
import shutil

import pytest

from lorerm import EmbeddedPreferences, HashingEncoder, Preferences, TrainingConfig
from lorerm.errors import ConfigError, RunError
from lorerm.pipeline import steps
from lorerm.pipeline.config import SplitConfig
from lorerm.pipeline.experiment import Recipe
from lorerm.pipeline.folder import RunFolder
from lorerm.pipeline.sources import PREFERENCES
from small_choices import choices, contents, write_lines


def test_prepared_pairs_carry_their_cells_and_leave_none_over(finished):
    kept = Preferences.read_parquet(finished.path / PREFERENCES)
    result = finished.result("prepare")
    assert len(kept) == result["n_pairs"]
    counted = {cell: int((kept.splits == cell).sum()) for cell in result["cells"]}
    assert counted == {cell: size["n_pairs"] for cell, size in result["cells"].items()}


def test_store_holds_the_prepared_pairs(finished):
    kept, data = Preferences.read_parquet(finished.path / PREFERENCES), EmbeddedPreferences.load(finished.path)
    assert list(data.user_ids) == list(kept.user_ids)
    assert list(data.splits) == list(kept.splits)
    assert data.encoder == HashingEncoder().identity


def test_pairs_beyond_the_limits_are_not_embedded(tmp_path):
    run = RunFolder.create(tmp_path / "run")
    data = str(write_lines(tmp_path / "c.jsonl", choices()))
    result = steps.prepare(run, [data], SplitConfig(max_pairs_seen=3, max_pairs_unseen=2))
    assert result["n_pairs"] < result["n_pairs_read"] == 120
    assert (
        max(size["n_pairs"] / max(1, size["n_users"]) for name, size in result["cells"].items() if "train" in name) <= 3
    )


def test_default_ranks_go_as_far_as_the_data_allow(run):
    """6 seen users, no reference head."""
    assert steps.train(run, TrainingConfig())["ranks"] == [1, 2, 3, 4, 5]


def test_order_of_the_ranks_changes_no_byte(run, finished):
    shutil.rmtree(run.path / "models")
    steps.train(run, TrainingConfig(), [2, 1])
    steps.report(run)
    assert contents(run.path) == contents(finished.path)


def test_other_adaptation_makes_another_report(run):
    before = contents(run.path)
    Recipe(adapt={"recipe": "paper", "steps": 3}).write(run.path)
    with pytest.raises(ConfigError, match="simplex"):
        steps.report(run)
    Recipe(train={"recipe": "paper"}, adapt={"recipe": "paper", "steps": 3}).write(run.path)
    steps.train(run, TrainingConfig(recipe="paper", steps=5), [2])
    steps.report(run)
    report = json.loads((run.path / "report" / "report.json").read_text())
    assert report["config"]["adaptation"]["steps"] == 3
    assert contents(run.path) != before


def test_steps_out_of_order(tmp_path):
    run = RunFolder.create(tmp_path / "run")
    with pytest.raises(RunError, match="lorerm prepare"):
        steps.embed(run, HashingEncoder, {"model": None})
    with pytest.raises(RunError, match="lorerm embed"):
        steps.train(run, TrainingConfig())
    with pytest.raises(RunError, match="lorerm train"):
        steps.report(run)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_seed_out_of_range_costs_nothing(run, seed):
    before = contents(run.path)
    with pytest.raises(ConfigError, match="seed is"):
        steps.train(run, TrainingConfig(seed=seed), [1])
    assert contents(run.path) == before


def test_ranks_of_a_recipe_go_as_far_as_the_data_allow(run):
    """6 seen users, no reference head; asked for by name, the same ranks are refused."""
    with pytest.raises(ConfigError, match="beyond what the data support"):
        steps.train(run, TrainingConfig(), [0, 2, 50])
    assert steps.train(run, TrainingConfig(), [0, 2, 50], strict=False)["ranks"] == [2]
