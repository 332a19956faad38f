"""The report's tables, as rows of values without markup."""

from __future__ import annotations

from lorerm.evaluation.json_records import from_json
from lorerm.evaluation.report import Report, RunComparison
from lorerm.reporting import tables
from lorerm.reporting.phrases import points

ACCURACY = {"mean": 0.7, "stderr": 0.01, "stderr_two_way": 0.012, "ci95": [0.67, 0.73], "n_users": 9}
ACCURACIES = {"train_seen": ACCURACY, "test_seen": ACCURACY, "train_unseen": None, "test_unseen": None}


def test_every_table_is_rectangular(content):
    report = Report.from_dict(content)
    gains = report.gains
    found = [
        tables.rank_table(report),
        tables.interval_table(report),
        tables.control_table(report),
        *tables.difference_tables(report, report.focus_rank),
        tables.gain_numbers(gains),
        tables.losing_users(gains),
        tables.splits_table(report),
        tables.selection_table(report),
        tables.published_table(report),
        report.few_shot and tables.few_shot_table(report.few_shot),
        *(tables.seeds_tables(report.seeds, report.ranks) if report.seeds else ()),
    ]
    for table in filter(None, found):
        assert {len(row.values) + 1 for row in table.rows} <= {len(table.columns)}, table.caption


def test_rank_table_marks_the_chosen_rank_alone(rich):
    rows = tables.rank_table(Report.from_dict(rich)).rows
    assert [row.heading for row in rows if row.chosen] == ["personal weights (K = 4)"]


def test_a_rank_that_is_not_available_has_dashes_and_its_reason(impersonal):
    table = tables.rank_table(Report.from_dict(impersonal))
    assert table.rows[0].values == ("-", "-", "-", "-")
    (note,) = table.notes
    assert "K = 0" in note
    assert impersonal["ranks"][0]["reason"] in note


def test_empty_splits_are_named(seen_only):
    table = tables.rank_table(Report.from_dict(seen_only))
    assert table.columns == ("Rank", "seen users, train prompts", "seen users, test prompts")
    assert "unseen users, test prompts" in table.notes[0]


def test_intervals_with_both_standard_errors_and_the_sample_size(rich):
    found = rich["ranks"][4]["cells"]["test_unseen"]
    found |= {"mean": 0.7, "ci95": [0.67, 0.73], "stderr": 0.01, "stderr_two_way": 0.012, "n_prompts": 84}
    rows = {row.heading: row for row in tables.interval_table(Report.from_dict(rich)).rows}
    row = rows["personal weights (K = 4): unseen users, test prompts"]
    assert row.values == ("70.0", "67.0 to 73.0", "1.0", "1.2", "90", "1,260", "-", "84")
    assert row.chosen
    population = rich["controls"][4]
    mean = population["cells"]["test_seen"]["mean"]
    assert (population["name"], population["rank"]) == ("shared_direction", 4)
    assert rows["population model (K = 4): seen users, test prompts"].values[0] == f"{100 * mean:.1f}"


def test_ties_are_counted_below_the_tables(rich):
    rich["ranks"][1]["cells"]["test_seen"] |= {"n_ties": 7}
    rich["controls"][4]["cells"]["test_unseen"] |= {"n_ties": 1200}
    report = Report.from_dict(rich)
    (note,) = tables.rank_table(report).notes
    assert "single Bradley-Terry (K = 1): 7 of 2,940 (seen users, test prompts)." in note
    (note,) = tables.control_table(report).notes
    assert "population model: 1,200 of 1,260 (unseen users, test prompts)." in note
    rows = {row.heading: row for row in tables.interval_table(report).rows}
    assert rows["single Bradley-Terry (K = 1): seen users, test prompts"].values[-2] == "7"


def test_data_that_could_not_show_personal_weights_are_named_below_the_table(rich):
    rich["data"] |= {"n_same": 6000, "total_weight": 1.0}
    same, weights = tables.rank_table(Report.from_dict(rich)).notes
    assert "6,000 of 13,500 comparisons" in same
    assert "sum to 1," in weights


def test_controls_are_those_of_the_focus_rank(rich):
    report = Report.from_dict(rich)
    table = tables.control_table(report)
    assert [row.heading for row in table.rows] == ["own weights (rank 4)", "population model", "another user's weights"]
    assert table.rows[0].values == tables.rank_table(report).rows[4].values
    assert tables.control_table(Report.from_dict(rich | {"controls": []})) is None


def test_differences_are_split_by_split_unseen_users_first(rich):
    unseen, seen = tables.difference_tables(Report.from_dict(rich), 4)
    assert "unseen users" in unseen.caption
    assert "unseen users" not in seen.caption
    assert len(unseen.rows) == len(seen.rows) == 4


def test_the_result_of_a_difference_is_in_words_before_its_numbers(rich):
    row = next(row for row in rich["differences"] if row["rank"] == 4 and row["cell"] == "test_unseen")
    row.update(against="shared_direction", mean=0.14, ci95=[-0.03, 0.31])
    found = tables.difference_tables(Report.from_dict(rich), 4)[0].rows[0]
    assert found.values[:3] == ("too few users to tell", "+14.0", "−3.0 to +31.0")
    assert found.bounds == (-0.03, 0.14, 0.31)


def test_a_difference_without_interval_is_not_drawn(rich):
    for row in rich["differences"]:
        row["ci95"] = None
    found = tables.difference_tables(Report.from_dict(rich), 4)
    assert {row.bounds for table in found for row in table.rows} == {None}


def test_gain_numbers_of_known_gains(rich):
    rich["gains"].update(test_unseen=[-0.1, 0.0, 0.0, 0.2, 0.4], test_seen=[])
    (row,) = tables.gain_numbers(Report.from_dict(rich).gains).rows
    assert row.values == ("5", "+10.0", "0.0", "0.0", "+20.0", "20.0", "40.0", "40.0")


def test_the_largest_losses_come_first_and_all_are_counted(rich):
    losing = sorted((row for row in rich["gains"]["users"] if row["gain"] < 0), key=lambda row: row["gain"])
    table = tables.losing_users(Report.from_dict(rich).gains)
    assert len(losing) > tables.LISTED_USERS == len(table.rows)
    assert table.rows[0].values[0] == points(losing[0]["gain"])
    assert table.notes[0].startswith(f"{len(losing)} of 300 users")
    assert str(tables.LISTED_USERS) in table.notes[1]


def test_without_losses_the_table_is_empty(rich):
    for row in rich["gains"]["users"]:
        row.update(gain=0.1, ci95=[0.0, 0.2])
    table = tables.losing_users(Report.from_dict(rich).gains)
    assert table.rows == ()
    assert table.notes[0].startswith("0 of 300 users")


def test_agreement(rich, impersonal):
    (_, choices), (_, models) = tables.agreement_facts(Report.from_dict(rich)).items
    assert choices.startswith("61.7% of 36,501 ")
    assert models.startswith("70.4% ")
    assert tables.agreement_facts(Report.from_dict(impersonal)) is None


def test_few_shot_curve(rich):
    table = tables.few_shot_table(Report.from_dict(rich).few_shot)
    assert table.rows[0].values == ("66.0", "63.4 to 68.6", "-", "-", "90")
    assert table.rows[-1].heading == "50"
    assert table.rows[-1].values[2:4] == ("+4.2", "+2.2 to +6.2")


def test_seeds_mark_each_seeds_own_choice(rich):
    report = Report.from_dict(rich)
    unseen, _, gains = tables.seeds_tables(report.seeds, report.ranks)
    assert [row.heading for row in unseen.rows if row.chosen] == ["each seed's own choice"]
    assert unseen.rows[0].values[1:] == ("1.2", "0.9", "0.8")
    assert gains.rows[0].values[0] == "+4.0"


def test_axes_with_their_strongest_properties(rich):
    shared, first, _ = map(tables.axis_words, Report.from_dict(rich).axes.directions)
    assert shared.name == "population model"
    assert [value for _, value in shared.facts] == ["+0.42", "correlation +0.93, lowest +0.88"]
    assert first.facts[0][1] == "70.0%"
    assert first.properties == (("length", 0.52, "+0.52"), ("hedges", -0.31, "−0.31"))


def test_optional_parts_may_be_missing(seen_only):
    report = Report.from_dict(seen_only)
    assert tables.encoder_facts(report) is tables.leak_facts(report) is None
    assert tables.config_facts(report) == []
    assert tables.selection_table(report) is None
    assert tables.published_table(report) is None


def run(name):
    return {
        "name": name, "source": "x.jsonl", "encoder": None, "recipe": "paper", "chosen_rank": 3, "cells": ACCURACIES
    }  # fmt: skip


def test_runs_and_their_paired_differences():
    row = {
        "run": "b",
        "against": "a",
        "cell": "test_seen",
        **ACCURACY,
        "mean": 0.02,
        "ci95": [0.01, 0.03],
        "n_pairs": 90,
    }
    runs, paired = tables.comparison_tables(
        from_json(RunComparison, {"runs": [run("a"), run("b")], "paired": [row]}, "comparison")
    )
    assert runs.columns == ("Run", "rank", "seen users, train prompts", "seen users, test prompts")
    assert runs.rows[0].heading.split() == ["a", "x.jsonl", "recipe", "paper"]
    assert runs.rows[0].values == ("3", "70.0 ± 1.0", "70.0 ± 1.0")
    assert len(runs.notes) == 1
    assert paired.rows[0].values[1:] == ("better", "+2.0", "+1.0 to +3.0", "9", "90")


def test_runs_without_common_users_are_not_paired():
    found = from_json(RunComparison, {"runs": [run("a"), run("b")], "paired": []}, "comparison")
    (runs,) = tables.comparison_tables(found)
    assert len(runs.notes) == 2
