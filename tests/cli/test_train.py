"""`lorerm train`: an error changes no file, and changed settings train the models again."""

from __future__ import annotations

import json

import pytest

from lorerm.errors import RunError
from small_choices import contents


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--ranks", "9"], ["rank 9", "seen users: 6", "dimension: 808", "from 1 to 6"]),
        (["--ranks", "1", "-1"], ["rank -1", "from 1 to 6"]),
        (["--ranks", "0"], ["rank 0", "encoder"]),
        (["--recipe", "paper-cosine"], ["recipe paper-cosine"]),
        (["--recipe", "paper", "--alpha", "1"], ["recipe paper"]),
        (["--recipe", "paper-cosinus"], ["--recipe", "'paper-cosinus'", "paper-cosine"]),
        (["--alpha", "1"], ["alpha"]),
        (["--steps", "0"], ["steps", "0"]),
        (["--seed", "-1"], ["seed is -1"]),
        (["--seed", "one"], ["--seed", "'one'"]),
    ],
)
def test_what_cannot_be_trained_is_refused_and_changes_nothing(refuses, run, options, names):
    before, manifest = contents(run), (run / "manifest.json").read_bytes()
    refuses("train", run, *options, names=names)
    assert (contents(run), (run / "manifest.json").read_bytes()) == (before, manifest)


def test_shows_the_chosen_rank_and_the_next_command(lorerm, run):
    outcome = lorerm("train", run, "--ranks", 1, 2)
    assert outcome.code == 0
    assert "Trained ranks 1, 2" in outcome.out
    assert f"lorerm report {run}" in outcome.out


def test_another_recipe_trains_again_and_drops_the_report_of_the_old_one(lorerm, refuses, run):
    before = contents(run)
    assert lorerm("train", run, "--ranks", 2, "--recipe", "paper", "--steps", 3).code == 0
    config = json.loads((run / "models" / "rank-2" / "config.json").read_text())
    assert config["training"]["config"]["recipe"] == "paper"
    assert not (run / "models" / "rank-1").exists(), "a model of other settings must not stay"
    assert lorerm("report", run).code == 0
    assert contents(run)["report/report.json"] != before["report/report.json"]


def test_before_embedding_it_is_refused(lorerm, refuses, tmp_path, choices_file):
    assert lorerm("prepare", choices_file, "--out", tmp_path / "run").code == 0
    refuses("train", tmp_path / "run", error=RunError, names=["'embed'", "`lorerm embed`"])


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "users.safetensors"])
@pytest.mark.parametrize("damage", ["lost", "cut off"])
def test_damaged_model_is_trained_again_alone(lorerm, run, name, damage):
    before = contents(run)
    file = run / "models" / "rank-2" / name
    if damage == "lost":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-9])
    outcome = lorerm("train", run, "--ranks", 1, 2)
    assert outcome.code == 0
    assert "rank 1 ..." not in outcome.err
    assert "rank 2 ..." in outcome.err
    assert contents(run) == before


def test_a_damaged_model_of_the_right_size_is_named_when_it_is_read(refuses, lorerm, run):
    """The remedy of the error makes the run whole again."""
    before = contents(run)
    file = run / "models" / "rank-1" / "model.safetensors"
    file.write_bytes(b"\xff" * file.stat().st_size)
    (run / "report" / "report.md").unlink()
    refuses("report", run, error=RunError, names=[f"delete {file.parent}"])
    for path in file.parent.iterdir():
        path.unlink()
    file.parent.rmdir()
    assert lorerm("train", run, "--ranks", 1, 2).code == 0
    assert lorerm("report", run).code == 0
    assert contents(run) == before
