"""`lorerm shots`."""

import json

from lorerm.errors import ConfigError


def test_a_table_and_the_report_with_it(lorerm, run):
    outcome = lorerm("shots", run, "--shots", 1, 4, "--trials", 3)
    assert outcome.code == 0, outcome
    assert "unseen users" in outcome.out
    shots = json.loads((run / "report" / "report.json").read_text("utf-8"))["shots"]
    assert [point["shots"] for point in shots["points"]] == [0, 1, 4]
    assert shots["trials"] == 3


def test_bad_input_is_one_line(refuses, run):
    refuses("shots", run, "--shots", "-2", error=ConfigError, names=["-2"])
    refuses("shots", run, "--trials", 0, error=ConfigError, argument="trials")
    refuses("shots", run, "--rank", 8, error=ConfigError, argument="rank")
