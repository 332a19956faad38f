"""Every rank at every alpha, and the choice among them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from lorerm import EmbeddedPreferences, TrainingConfig, train
from lorerm.embedding.external.imported import read_matrix_and_comparisons
from lorerm.errors import ConfigError
from lorerm.pipeline import steps
from lorerm.pipeline.config import SplitConfig
from lorerm.pipeline.folder import RunFolder
from lorerm.pipeline.import_embeddings import import_embeddings
from lorerm.pipeline.models import alpha_name, load_model, load_trained
from small_choices import comparisons, contents, write_lines, write_matrix


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
