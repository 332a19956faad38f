"""The demo: the whole way, and that it removes an earlier demo and nothing else."""

from __future__ import annotations

import pytest

from lorerm.cli import main
from lorerm.pipeline import steps
from lorerm.pipeline.folder import RunFolder
from small_choices import contents


@pytest.fixture(scope="module", autouse=True)
def _few_ranks():
    """Two ranks show what six do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "DEFAULT_RANKS", (1, 2))
        yield


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A small demo, and what it showed."""
    out = tmp_path_factory.mktemp("demo") / "run"
    assert main(["demo", "--out", str(out), "--users", "6"]) == 0
    return out


def test_twice_is_from_the_start_and_the_same(lorerm, demo):
    before = contents(demo)
    made = (demo / "preferences.parquet").stat().st_mtime_ns
    outcome = lorerm("demo", "--out", demo, "--users", 6)
    assert outcome.code == 0
    assert "The true tastes would reach" in outcome.out
    assert contents(demo) == before
    assert (demo / "preferences.parquet").stat().st_mtime_ns > made


def test_its_folder_serves_later_verbs(lorerm, demo):
    assert lorerm("report", demo).code == 0


def test_other_runs_are_refused_and_stay(refuses, run, imported):
    for folder in (run, imported):
        before = contents(folder)
        assert "holds more than an earlier demo" in refuses("demo", "--out", folder)
        assert contents(folder) == before


def test_a_named_data_set_is_no_demo(refuses, tmp_path):
    """`lorerm run simulated` may be somebody's work."""
    run = RunFolder.create(tmp_path / "run")
    named = {"input": [{"name": "simulated", "sha256": None}], "options": {}}
    run.step("prepare", named, lambda: dict)
    assert "another run" in refuses("demo", "--out", tmp_path / "run")


def test_files_put_beside_a_demo_stay(refuses, demo):
    note = demo / "note.txt"
    note.write_text("mine")
    try:
        assert "note.txt" in refuses("demo", "--out", demo)
        assert (demo / "report" / "report.html").exists()
    finally:
        note.unlink()


@pytest.mark.parametrize("option", [("--users", "0"), ("--seed", "-1"), ("--users", "many")])
def test_bad_argument_leaves_the_earlier_demo(refuses, demo, option):
    before = contents(demo)
    refuses("demo", "--out", demo, *option)
    assert contents(demo) == before


def test_folder_of_other_files_is_refused(refuses, tmp_path):
    (tmp_path / "letter.txt").write_text("Dear Sir")
    assert "no run of lorerm" in refuses("demo", "--out", tmp_path, "--users", 6)
