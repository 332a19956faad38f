"""`lorerm compare`."""

import json

from lorerm.errors import ConfigError, RunError


def test_two_runs(lorerm, run, done):
    outcome = lorerm("compare", done, run)
    assert outcome.code == 0, outcome
    assert outcome.out.count(str(run.name)) >= 2  # in both tables
    found = json.loads(lorerm("compare", done, run, "--json").out)
    assert [row["name"] for row in found["runs"]] == [done.name, run.name]
    assert all(row["mean"] == 0 for row in found["paired"])


def test_one_run_is_refused(refuses, run):
    refuses("compare", run, error=ConfigError, argument="runs")


def test_a_run_without_a_report_is_refused(refuses, run, imported):
    refuses("compare", run, imported, error=RunError, names=[imported, "`lorerm report`"])
