"""`lorerm report`."""

from __future__ import annotations

import json

from lorerm.errors import ConfigError, RunError
from small_choices import contents


def test_shows_the_table_and_where_the_page_is(lorerm, done):
    outcome = lorerm("report", done)
    assert outcome.code == 0
    assert "K = 1" in outcome.out
    assert "What to do next:" in outcome.out
    assert f"Report: {done / 'report' / 'report.html'}" in outcome.out


def test_lost_page_is_made_again_with_the_same_bytes(lorerm, run):
    before = contents(run)
    (run / "report" / "report.html").unlink()
    (run / "report" / "report.json").write_text("{}")
    assert lorerm("report", run).code == 0
    assert contents(run) == before


def test_the_report_has_the_source_and_the_split(done):
    report = json.loads((done / "report" / "report.json").read_text())
    assert report["data"]["source"] == "choices.jsonl"
    assert report["config"]["split"]["test_prompts"] == 0.3


def test_before_training_there_is_nothing_to_report(refuses, imported):
    refuses("report", imported, error=RunError, names=["'train'", "`lorerm train`"])


def test_more_seeds(lorerm, refuses, run):
    outcome = lorerm("report", run, "--seeds", 2)
    assert outcome.code == 0, outcome
    assert json.loads((run / "report" / "report.json").read_text("utf-8"))["seeds"]["seeds"] == [0, 1]
    page = (run / "report" / "report.html").read_text("utf-8")
    assert "Several seeds" in page
    assert lorerm("report", run).code == 0
    assert (run / "report" / "report.html").read_text("utf-8") == page, "as many as before"
    refuses("report", run, "--seeds", 0, error=ConfigError, argument="seeds")
