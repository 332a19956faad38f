"""`lorerm shots`."""

import json


def test_a_table_and_the_report_with_it(lorerm, run):
    outcome = lorerm("shots", run, "--shots", 1, 4, "--trials", 3)
    assert outcome.code == 0, outcome
    assert "unseen users" in outcome.out
    shots = json.loads((run / "report" / "report.json").read_text("utf-8"))["shots"]
    assert [point["shots"] for point in shots["points"]] == [0, 1, 4]
    assert shots["trials"] == 3


def test_bad_input_is_one_line(refuses, run):
    assert "shots holds -2" in refuses("shots", run, "--shots", "-2")
    assert "trials is 0" in refuses("shots", run, "--trials", 0)
    assert "no model of rank 8" in refuses("shots", run, "--rank", 8)
