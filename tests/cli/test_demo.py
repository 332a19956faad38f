"""`lorerm demo` makes a complete run, and removes the files of an earlier demo and no others."""

from __future__ import annotations

import pytest

from lorerm.cli import main
from lorerm.errors import RunError
from lorerm.pipeline import steps
from lorerm.pipeline.folder import RunFolder
from small_choices import contents


@pytest.fixture(scope="module", autouse=True)
def _few_ranks():
    """Train two ranks instead of six, which is quicker."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "DEFAULT_RANKS", (1, 2))
        yield


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The run folder of a small demo."""
    out = tmp_path_factory.mktemp("demo") / "run"
    assert main(["demo", "--out", str(out), "--users", "6"]) == 0
    return out


def test_a_second_demo_starts_again_and_is_the_same(lorerm, demo):
    before = contents(demo)
    made = (demo / "responses.parquet").stat().st_mtime_ns
    outcome = lorerm("demo", "--out", demo, "--users", 6)
    assert outcome.code == 0
    assert "true preferences predict" in outcome.out
    assert contents(demo) == before
    assert (demo / "responses.parquet").stat().st_mtime_ns > made


def test_its_folder_serves_later_verbs(lorerm, demo):
    assert lorerm("report", demo).code == 0


def test_other_runs_are_refused_and_stay(refuses, run, imported):
    for folder in (run, imported):
        before = contents(folder)
        refuses("demo", "--out", folder, error=RunError, names=[folder, "--out"])
        assert contents(folder) == before


def test_a_named_data_set_is_no_demo(refuses, tmp_path):
    """A run of `lorerm run simulated` is kept."""
    run = RunFolder.create(tmp_path / "run")
    named = {"input": [{"name": "simulated", "sha256": None}], "options": {}}
    run.step("prepare", named, lambda: dict)
    refuses("demo", "--out", tmp_path / "run", error=RunError, names=[tmp_path / "run", "--out"])


def test_files_put_beside_a_demo_stay(refuses, demo):
    note = demo / "note.txt"
    note.write_text("mine")
    try:
        refuses("demo", "--out", demo, error=RunError, names=["note.txt", "--out"])
        assert (demo / "report" / "report.html").exists()
    finally:
        note.unlink()


@pytest.mark.slow
def test_demo_of_real_users(lorerm, demo):
    """It takes the place of another demo, and names the source of the data."""
    outcome = lorerm("demo", "--people", "polis", "--out", demo)
    assert outcome.code == 0
    assert "Attribution to The Computational Democracy Project" in " ".join(outcome.out.split())
    assert "[+]" in outcome.out
    assert RunFolder.open(demo).arguments("prepare")["input"] == [{"name": "polis", "sha256": None}]


@pytest.mark.parametrize(
    "option",
    [("--users", "0"), ("--seed", "-1"), ("--users", "many"), ("--people", "polis", "--users", "9")],
)
def test_bad_argument_leaves_the_earlier_demo(refuses, demo, option):
    before = contents(demo)
    refuses("demo", "--out", demo, *option)
    assert contents(demo) == before


def test_folder_of_other_files_is_refused(refuses, tmp_path):
    (tmp_path / "letter.txt").write_text("Dear Sir")
    refuses("demo", "--out", tmp_path, "--users", 6, error=RunError, names=[tmp_path])
