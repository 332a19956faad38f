"""Training by itself: what is refused costs nothing, what changed is trained again."""

from __future__ import annotations

import json

import pytest

from small_choices import contents


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--ranks", "9"], "beyond what the data support (seen users: 6, dimension: 808): ask for ranks from 1 to 6"),
        (["--ranks", "1", "-1"], "beyond what the data support"),
        (["--ranks", "0"], "the embedded encoder is no reward model"),
        (["--recipe", "paper-cosine"], "needs a reference head"),
        (["--recipe", "paper", "--alpha", "1"], "needs a reference head"),
        (["--recipe", "paper-cosinus"], "invalid choice"),
        (["--alpha", "1"], "no meaning in the default recipe"),
        (["--steps", "0"], "less than 1"),
        (["--seed", "-1"], "seed is -1"),
        (["--seed", "one"], "invalid int value"),
    ],
)
def test_what_cannot_be_trained_costs_nothing_that_is_done(refuses, run, options, said):
    before, manifest = contents(run), (run / "manifest.json").read_bytes()
    assert said in refuses("train", run, *options)
    assert (contents(run), (run / "manifest.json").read_bytes()) == (before, manifest)


def test_says_what_was_chosen_and_what_comes_next(lorerm, run):
    outcome = lorerm("train", run, "--ranks", 1, 2)
    assert outcome.code == 0
    assert "Trained ranks 1, 2" in outcome.out
    assert f"lorerm report {run}" in outcome.out


def test_another_recipe_trains_again_and_drops_the_report_of_the_old_one(lorerm, refuses, run):
    before = contents(run)
    assert lorerm("train", run, "--ranks", 2, "--recipe", "paper", "--steps", 3).code == 0
    config = json.loads((run / "models" / "rank-2" / "config.json").read_text())
    assert config["training"]["config"]["recipe"] == "paper"
    assert not (run / "models" / "rank-1").exists(), "a model of other settings must not stay beside"
    assert lorerm("report", run).code == 0
    assert contents(run)["report/report.json"] != before["report/report.json"]


def test_before_embedding_there_is_nothing_to_train_on(lorerm, refuses, tmp_path, choices_file):
    assert lorerm("prepare", choices_file, "--out", tmp_path / "run").code == 0
    assert "lorerm embed" in refuses("train", tmp_path / "run")


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


def test_model_damaged_unseen_is_named_with_the_way_out(refuses, lorerm, run):
    """Same size, other bytes: found when it is read, and put right as the message says."""
    before = contents(run)
    file = run / "models" / "rank-1" / "model.safetensors"
    file.write_bytes(b"\xff" * file.stat().st_size)
    (run / "report" / "report.md").unlink()
    line = refuses("report", run)
    assert "rank-1" in line
    assert f"delete {file.parent}" in line
    for path in file.parent.iterdir():
        path.unlink()
    file.parent.rmdir()
    assert lorerm("train", run, "--ranks", 1, 2).code == 0
    assert lorerm("report", run).code == 0
    assert contents(run) == before
