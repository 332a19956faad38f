"""`lorerm compare`."""

import json


def test_two_runs(lorerm, run, done):
    outcome = lorerm("compare", done, run)
    assert outcome.code == 0, outcome
    assert outcome.out.count(str(run.name)) >= 2  # in both tables
    found = json.loads(lorerm("compare", done, run, "--json").out)
    assert [row["name"] for row in found["runs"]] == [done.name, run.name]
    assert all(row["mean"] == 0 for row in found["paired"])


def test_one_run_is_refused(refuses, run):
    assert "one run" in refuses("compare", run)


def test_a_run_without_a_report_is_refused(refuses, run, imported):
    assert "run `lorerm report` first" in refuses("compare", run, imported)
