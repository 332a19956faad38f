"""Runs side by side, paired where users and prompts coincide."""

import json

import pyarrow.compute as pc
import pytest

from lorerm.evaluation.comparison import compare_runs
from lorerm.evaluation.evaluate import measure


@pytest.fixture(scope="module")
def report(models, cells):
    return measure(models, cells)


def test_two_ranks_of_one_run_differ_by_their_paired_difference(report, measured):
    """Rank 1 as the first run's choice against the chosen rank: the report has that difference."""
    table = measured.predictions()
    found = compare_runs(["one", "other"], [{**report, "chosen_rank": 1}, report], [table, table])
    for row in found["paired"]:
        expected = next(
            entry for entry in report["differences"]
            if (entry["rank"], entry["against"], entry["cell"]) == (report["chosen_rank"], "bradley_terry", row["cell"])
        )  # fmt: skip
        assert (row["run"], row["against"]) == ("other", "one")
        assert row["mean"] == pytest.approx(expected["mean"])
        assert row["stderr"] == pytest.approx(expected["stderr"])
        assert row["ci95"] == pytest.approx(expected["ci95"])
        assert row["n_users"] == expected["n_users"]
    assert [run["chosen_rank"] for run in found["runs"]] == [1, report["chosen_rank"]]
    assert len(found["paired"]) == 2
    json.dumps(found, allow_nan=False)


def test_only_who_is_in_both_is_paired(report, measured):
    table = measured.predictions()
    users = table.filter(pc.equal(table["cell"], "test_seen"))["user_id"].unique().slice(0, 3)
    fewer = table.filter(pc.is_in(table["user_id"], value_set=users))
    found = compare_runs(["one", "other"], [report, report], [table, fewer])
    assert [(row["cell"], row["n_users"], row["mean"]) for row in found["paired"]] == [("test_seen", len(users), 0)]


def test_strangers_are_not_paired(report, measured):
    table = measured.predictions()
    strangers = table.set_column(1, "user_id", pc.binary_join_element_wise("x", table["user_id"], "-"))
    assert compare_runs(["one", "other"], [report, report], [table, strangers])["paired"] == []
