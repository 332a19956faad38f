"""`lorerm run`: its files, finished steps that are not repeated, and how it continues."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from lorerm.errors import ConfigError, DataError, RunError
from small_choices import MARK, choices, contents, write_lines


def test_makes_every_part_of_the_folder(done):
    """The layout that the documentation promises."""
    made = contents(done)
    assert {"responses.parquet", "comparisons.parquet", "report/report.json", "report/report.md"} <= set(made)
    assert {"report/report.html", "report/figures/accuracy_by_rank.png", "embeddings/encoder.json"} <= set(made)
    for rank in (1, 2):
        assert {
            f"models/rank-{rank}/{name}" for name in ("config.json", "model.safetensors", "users.safetensors")
        } <= set(made)


def test_second_time_does_nothing_and_shows_the_table(lorerm, run, choices_file):
    times = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    outcome = lorerm("run", choices_file, "--out", run, "--ranks", 1, 2)
    assert outcome.code == 0
    assert "K = 2" in outcome.out
    assert str(run / "report" / "report.html") in outcome.out
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()} == times
    assert "embedding" not in outcome.err


def test_a_number_of_seeds_below_1_is_refused_before_anything_is_done(refuses, tmp_path, choices_file):
    refuses("run", choices_file, "--out", tmp_path / "run", "--seeds", 0, error=ConfigError, argument="seeds")
    assert not (tmp_path / "run").exists()


def test_same_bytes_in_another_process_with_another_hash_seed(done, tmp_path, choices_file):
    """Everything but the manifest, the figures included."""
    again = tmp_path / "again"
    command = [sys.executable, "-m", "lorerm", "run", str(choices_file), "--out", str(again), "--ranks", "1", "2"]
    environment = {**os.environ, "PYTHONHASHSEED": "123", "OMP_NUM_THREADS": "1"}
    subprocess.run(command, env=environment, check=True, capture_output=True)
    ours, theirs = contents(done), contents(again)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []


def test_no_users_text_is_shown_or_kept_in_the_manifest(lorerm, tmp_path, choices_file):
    out = tmp_path / "run"
    outcome = lorerm("run", choices_file, "--out", out, "--ranks", 1)
    assert outcome.code == 0
    assert MARK not in outcome.out + outcome.err + (out / "manifest.json").read_text()


def test_more_ranks_keep_those_that_are_done(lorerm, run, choices_file):
    before = contents(run)
    outcome = lorerm("run", choices_file, "--out", run, "--ranks", 2, 3)
    assert outcome.code == 0
    assert "rank 3 ..." in outcome.err
    assert "rank 2 ..." not in outcome.err
    after = contents(run)
    for name in ("config.json", "model.safetensors", "users.safetensors"):
        assert after[f"models/rank-2/{name}"] == before[f"models/rank-2/{name}"]
    report = json.loads(after["report/report.json"])
    assert [entry["rank"] for entry in report["ranks"]] == [0, 1, 2, 3], "the baselines are in every report"


def test_another_seed_is_refused_and_costs_nothing(refuses, run, choices_file):
    before, manifest = contents(run), (run / "manifest.json").read_bytes()
    refuses("run", choices_file, "--out", run, "--ranks", 1, 2, "--seed", 1, error=RunError, names=[": seed"])
    assert (contents(run), (run / "manifest.json").read_bytes()) == (before, manifest)


def test_other_data_are_refused(refuses, run, tmp_path):
    other = write_lines(tmp_path / "other.jsonl", choices()[:-1])
    refuses("run", other, "--out", run, error=RunError, names=[": input"])


def test_corrected_input_is_taken_in_the_same_folder(lorerm, refuses, tmp_path):
    """A folder without a finished step takes other input than that which could not be read."""
    file, out = tmp_path / "choices.jsonl", tmp_path / "run"
    rows = choices()
    write_lines(file, [*rows[:3], {**rows[3], "chosen": None}, *rows[4:]])
    refuses("run", file, "--out", out, "--ranks", 1, error=DataError, file=str(file), row=4, column="chosen")
    write_lines(file, rows)
    assert lorerm("run", file, "--out", out, "--ranks", 1).code == 0


def test_folder_of_other_files_is_refused(refuses, tmp_path, choices_file):
    (tmp_path / "letter.txt").write_text("Dear Sir")
    refuses("run", choices_file, "--out", tmp_path, error=RunError, names=[tmp_path])
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_file_in_place_of_the_folder_is_refused(refuses, tmp_path, choices_file):
    (tmp_path / "run").write_text("")
    for out in (tmp_path / "run", tmp_path / "run" / "below"):
        refuses("run", choices_file, "--out", out, error=RunError, names=[out])


def test_unicode_ids_and_brackets_in_paths(lorerm, tmp_path):
    """Square brackets are no markup, and any user's name can be asked for."""
    rows = [{**row, "user_id": f"Ünal 🦉 {row['user_id']}"} for row in choices(n_users=4)]
    out = tmp_path / "a[b]c"
    outcome = lorerm("run", write_lines(tmp_path / "choices.jsonl", rows), "--out", out, "--ranks", 1)
    assert outcome.code == 0
    assert "a[b]c" in outcome.out
    data = write_lines(tmp_path / "candidates.jsonl", [{"prompt": "Hm?", "response": "Hm."}])
    assert json.loads(lorerm("score", out, "--user", "Ünal 🦉 user-00", "--data", data).out)["user_id"].startswith(
        "Ünal"
    )


@pytest.mark.parametrize("n_users", [1, 2])
def test_one_or_two_users_are_enough(lorerm, tmp_path, n_users):
    """With one user none is unseen, and a warning tells so."""
    outcome = lorerm("run", write_lines(tmp_path / "c.jsonl", choices(n_users)), "--out", tmp_path / "run")
    assert outcome.code == 0
    assert ("No user is held out" in outcome.err) == (n_users == 1)


def test_users_with_few_comparisons_are_counted_and_named(lorerm, tmp_path):
    rows = [*choices(), *({**row, "user_id": f"rare-{i}"} for i, row in enumerate(choices()[:9]))]
    outcome = lorerm("run", write_lines(tmp_path / "c.jsonl", rows), "--out", tmp_path / "run", "--ranks", 1)
    assert outcome.code == 0
    warned = [line for line in outcome.err.splitlines() if line.startswith("warning:")]
    assert any("of 17 users" in line and "rare-" in line for line in warned)
