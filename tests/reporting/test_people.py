"""Who is served worse, and how far people agree."""

from __future__ import annotations

from lorerm.reporting.people import LISTED, agreement_facts, worse_served
from lorerm.reporting.phrases import points


def test_the_largest_losses_come_first_and_all_are_counted(rich_report):
    losing = sorted((row for row in rich_report["gains"]["users"] if row["gain"] < 0), key=lambda row: row["gain"])
    table = worse_served(rich_report)
    assert len(table.rows) == min(LISTED, len(losing))
    assert table.rows[0].values[0] == points(losing[0]["gain"])
    assert table.notes[0].startswith(f"{len(losing)} of 300 people are served worse")
    assert {len(row.values) + 1 for row in table.rows} == {len(table.columns)}


def test_where_nobody_loses_the_table_says_so(rich_report):
    for row in rich_report["gains"]["users"]:
        row.update(gain=0.1, ci95=[0.0, 0.2])
    table = worse_served(rich_report)
    assert table.rows == ()
    assert table.notes[0].startswith("0 of 300 people")


def test_reports_that_do_not_know_say_nothing(impersonal_report):
    assert worse_served(impersonal_report) is None
    assert agreement_facts(impersonal_report) == ()


def test_agreement(rich_report):
    (_, choices), (_, models) = agreement_facts(rich_report)
    assert choices == "61.7% of 36,501 comparisons"
    assert models == "70.4%"
    assert agreement_facts({"agreement": {"choices": None, "models": None}}) == ()
