"""The examples run as they stand, with tiny models where they ask for models."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "encoding"))

from tiny_models import TinyModels

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name, folder, *arguments):
    """What an example prints, run in an empty folder without a way to the hub."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_quickstart(tmp_path):
    out = run("quickstart.py", tmp_path)
    assert out.count("would rather have:") == 3
    assert (tmp_path / "quickstart-model" / "README.md").exists()
    assert not (tmp_path / "quickstart-model" / "users.safetensors").exists()


def test_own_logs(tmp_path):
    out = run("own_logs.py", tmp_path)
    assert "p0: Salt is a mineral" in out
    assert "p1: Salt.\n" in out
    assert "new, after 2 answers: Salt. (" in out


def test_active_questions(tmp_path):
    asked = re.findall(r"asked about \(\d+, \d+\): ([\d.]+) nats", run("active_questions.py", tmp_path))
    assert asked
    assert float(asked[0]) == max(map(float, asked))


def test_dpo_pairs(tmp_path):
    assert "num_rows: 8" in run("dpo_pairs.py", tmp_path)
    assert len((tmp_path / "pairs.jsonl").read_text("utf-8").splitlines()) == 8


def test_export_and_trl(tmp_path):
    if importlib.util.find_spec("trl") is None:
        pytest.skip("trl comes with the extra dev")
    models = TinyModels(tmp_path / "models")
    reward_model, policy = models.folder(), models.folder(task="causal", padding_side="left")
    out = run("export_and_trl.py", tmp_path, reward_model, policy)
    logit, reward = map(float, re.search(r"logit (\S+), model.rewards (\S+)", out).groups())
    assert logit == pytest.approx(reward, abs=1e-4)
    assert "global_step=2" in out
