"""Several runs side by side, paired where users and prompts coincide."""

import json
from dataclasses import replace

import pyarrow.compute as pc
import pytest

from lorerm.data.schema import TEST_SPLITS
from lorerm.embedding.encoder import EncoderIdentity
from lorerm.evaluation.comparison import compare_runs
from lorerm.evaluation.report import Settings


def test_two_ranks_of_one_run_differ_by_their_paired_difference(report, predictions):
    """Rank 1 as the first run's choice against the chosen rank: the report has that difference."""
    table = predictions.to_table()
    found = compare_runs(["one", "other"], [replace(report, chosen_rank=1), report], [table, table])
    assert [row.split for row in found.paired] == list(TEST_SPLITS)
    for row in found.paired:
        expected = report.difference(report.chosen_rank, "bradley_terry", row.split).estimate
        assert (row.run, row.against) == ("other", "one")
        assert row.estimate.mean == pytest.approx(expected.mean)
        assert row.estimate.stderr == pytest.approx(expected.stderr)
        assert row.estimate.ci95 == pytest.approx(expected.ci95)
        assert row.estimate.n_users == expected.n_users
    assert [run.chosen_rank for run in found.runs] == [1, report.chosen_rank]
    assert found.runs[1].accuracy("test_seen") == report.accuracy(report.chosen_rank, "test_seen")
    json.dumps(found.to_dict(), allow_nan=False)


def test_runs_are_described_by_their_reports(report, predictions):
    encoder = EncoderIdentity("a model", None, "t", "last-token", "float32", None, 8)
    other = replace(report, data=replace(report.data, source="logs.jsonl", encoder=encoder), settings=Settings())
    table = predictions.to_table()
    one, two = compare_runs(["one", "other"], [report, other], [table, table]).runs
    assert (one.name, one.source, one.encoder, one.recipe) == ("one", None, None, "default")
    assert (two.name, two.source, two.encoder, two.recipe) == ("other", "logs.jsonl", "a model", None)


def test_only_users_of_both_runs_are_paired(report, predictions):
    table = predictions.to_table()
    users = table.filter(pc.equal(table["cell"], "test_seen"))["user_id"].unique().slice(0, 3)
    fewer = table.filter(pc.is_in(table["user_id"], value_set=users))
    found = compare_runs(["one", "other"], [report, report], [table, fewer])
    assert [(row.split, row.estimate.n_users, row.estimate.mean) for row in found.paired] == [("test_seen", 3, 0)]


def test_runs_without_common_users_are_not_paired(report, predictions):
    table = predictions.to_table()
    strangers = table.set_column(1, "user_id", pc.binary_join_element_wise("x", table["user_id"], "-"))
    assert compare_runs(["one", "other"], [report, report], [table, strangers]).paired == ()
