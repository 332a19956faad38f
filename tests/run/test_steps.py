"""The steps, called from Python; the command's tests go through them as well."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from lorerm import AdaptationConfig, EmbeddedPreferences, HashingEncoder, Preferences, TrainingConfig, train
from lorerm.encoding.imported import read_matrix_and_comparisons
from lorerm.errors import ConfigError, RunError
from lorerm.run import steps
from lorerm.run.config import SplitConfig
from lorerm.run.folder import RunFolder
from lorerm.run.imports import import_embeddings
from lorerm.run.models import alpha_name, load_model, load_trained
from lorerm.run.sources import PREFERENCES
from small_choices import choices, comparisons, contents, write_lines, write_matrix


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
    with pytest.raises(ConfigError, match="simplex"):
        steps.report(run, AdaptationConfig(recipe="paper", steps=3))
    steps.train(run, TrainingConfig(recipe="paper", steps=5), [2])
    steps.report(run, AdaptationConfig(recipe="paper", steps=3))
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


def test_sweep_of_alphas_has_models_and_a_report_for_each(tmp_path):
    """As the published `alpha_list` and `K_list`: alpha outside, rank inside."""
    run = RunFolder.create(tmp_path / "run")
    matrix = write_matrix(tmp_path / "m.safetensors", reference=torch.ones(4))
    table = write_lines(tmp_path / "t.jsonl", comparisons())
    import_embeddings(run, [matrix, table], lambda: read_matrix_and_comparisons(matrix, table), SplitConfig())
    config = TrainingConfig(recipe="paper", steps=5)
    result = steps.train(run, config, [1, 2], [0.0, 10.0])
    assert result["alphas"] == [0.0, 10.0]
    assert result["chosen_alpha"] in (0.0, 10.0)
    for alpha in (0.0, 10.0):
        for rank in (1, 2):
            model = load_trained(run, rank, alpha)
            assert model.training["config"]["alpha"] == alpha
            alone = train_alone(run, replace(config, rank=rank, alpha=alpha))
            assert torch.equal(model.basis, alone.basis)
    assert not (run.path / "models" / "rank-1").exists()

    steps.report(run)
    for alpha in ("alpha-0", "alpha-10"):
        folder = run.path / "report" / alpha
        assert (folder / "figures" / "accuracy_by_rank.png").exists()
        content = json.loads((folder / "report.json").read_text())
        assert content["config"]["training"]["alpha"] == float(alpha.split("-")[1])
        assert (run.path / "models" / alpha / "rank-2" / "unseen.safetensors").exists()
    best = alpha_name(result["chosen_alpha"])
    same = [(run.path / "report" / part / "report.json").read_bytes() for part in ("", best)]
    assert same[0] == same[1], "the report of the run is that of the chosen alpha"
    assert load_model(run).training["config"]["alpha"] == result["chosen_alpha"]

    before = contents(run.path)
    stamp = (run.path / "models" / "alpha-0" / "rank-1" / "model.safetensors").stat().st_mtime_ns
    assert steps.train(run, config, [1, 2], [0.0, 10.0, 100.0])["alphas"] == [0.0, 10.0, 100.0]
    assert (run.path / "models" / "alpha-0" / "rank-1" / "model.safetensors").stat().st_mtime_ns == stamp
    after = contents(run.path)
    assert {name for name in before if name.startswith("models") and "unseen" not in name} <= set(after)


def train_alone(run, config):
    """The model as the library trains it."""
    data = EmbeddedPreferences.load(run.path)
    return train(data.select(np.flatnonzero(np.asarray(data.splits) == "train_seen")), config)


def test_alphas_have_no_meaning_in_the_default_recipe(run):
    before = contents(run.path)
    with pytest.raises(ConfigError, match="alpha has no meaning in the default recipe"):
        steps.train(run, TrainingConfig(), [1], [1.0, 2.0])
    assert contents(run.path) == before


def test_ranks_of_a_recipe_go_as_far_as_the_data_allow(run):
    """6 seen users, no reference head; asked for by name, the same ranks are refused."""
    with pytest.raises(ConfigError, match="beyond what the data support"):
        steps.train(run, TrainingConfig(), [0, 2, 50])
    assert steps.train(run, TrainingConfig(), [0, 2, 50], strict=False)["ranks"] == [2]
