"""The examples run unchanged, with tiny models where they need models."""

import json
import re
import runpy
import sys
from pathlib import Path

import pytest

from tiny_models import TinyModels

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run an example in an empty folder without access to the hub; in this process, which has imported torch."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def call(name, *arguments):
        """Return its output."""
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return call


def test_quickstart(run, tmp_path):
    out = run("quickstart.py")
    assert out.count("ranked first for annotator-") == 3
    assert (tmp_path / "quickstart-model" / "README.md").exists()
    assert not (tmp_path / "quickstart-model" / "users.safetensors").exists()


def test_own_logs(run):
    out = run("own_logs.py")
    assert "p0: Salt is a mineral" in out
    assert "p1: Salt.\n" in out
    assert "new, after 2 comparisons: Salt. (" in out


def test_active_questions(run):
    out = run("active_questions.py")
    asked = re.findall(r"asked about \(\d+, \d+\): ([\d.]+) nats", out)
    assert asked
    assert float(asked[0]) == max(map(float, asked))
    assert out.endswith("No comparison is likely to change the ten best.\n")


def test_dpo_pairs(run, tmp_path):
    assert "num_rows: 8" in run("dpo_pairs.py")
    rows = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text("utf-8").splitlines()]
    assert len(rows) == 8
    cooking = {row["chosen"][0]["content"] for row in rows if "cook" in row["prompt"][0]["content"]}
    assert len(cooking) > 1, "users differ"


@pytest.mark.xdist_group("trl")  # which takes seconds to import
@pytest.mark.filterwarnings("default")  # what other libraries deprecate in each other is not ours
def test_export_and_trl(run, tmp_path):
    pytest.importorskip("trl", reason="trl comes with the extra dev")
    models = TinyModels(tmp_path / "models")
    reward_model, policy = models.folder(), models.folder(task="causal", padding_side="left")
    out = run("export_and_trl.py", reward_model, policy)
    logit, reward = map(float, re.search(r"logit (\S+), model.rewards (\S+)", out).groups())
    assert logit == pytest.approx(reward, abs=1e-4)
    assert "global_step=2" in out
