"""The schema of the report: conversion to and from JSON, errors, and methods of a report."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from lorerm.errors import DataError
from lorerm.evaluation.report import Estimate, FewShotCurve, Gains, Report, UserGain, focus_rank
from refusals import refused


@pytest.fixture
def content(report):
    return json.loads(json.dumps(report.to_dict(), allow_nan=False))


def estimate(mean, ci95):
    return Estimate(mean=mean, stderr=None, ci95=ci95, n_users=3)


def test_a_report_is_json_and_back(report, content):
    assert Report.from_dict(content) == report
    assert Report.from_dict(content).to_dict() == content


@pytest.mark.parametrize("key", ["schema_version", "data", "ranks", "chosen_rank"])
def test_a_missing_part_is_named(content, key):
    del content[key]
    with refused(DataError, f"report.{key} "):
        Report.from_dict(content)


@pytest.mark.parametrize("key", ["lorerm_version", "config", "controls", "differences", "gains", "agreement"])
def test_other_parts_may_be_missing(content, key):
    del content[key]
    assert Report.from_dict(content).chosen_rank == content["chosen_rank"]


def test_accuracies_of_earlier_versions_are_read(content):
    """They had one standard error, that over users, and fewer counts; leaks had no standard errors."""
    accuracy = content["ranks"][2]["cells"]["test_seen"]
    for key in ("stderr_two_way", "std", "n_pairs", "n_prompts"):
        del accuracy[key]
    content["data"]["leaks"] = {"longer_chosen": 0.5, "length_accuracy": 0.5, "format_accuracy": 0.5, "n_pairs": 3}
    found = Report.from_dict(content)
    assert found.accuracy(2, "test_seen").standard_error == accuracy["stderr"]
    assert (found.data.leaks.n_comparisons, found.data.leaks.length_noise) == (3, None)


def test_another_schema_is_refused(content):
    with refused(DataError, "schema version 2"):
        Report.from_dict(content | {"schema_version": 2})


def test_a_chosen_rank_that_is_not_there_is_refused(content):
    with refused(DataError, "chosen rank 9"):
        Report.from_dict(content | {"chosen_rank": 9})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_json_cannot_hold_is_named_by_its_path(report, content, value):
    content["ranks"][2]["cells"]["test_seen"]["ci95"][1] = value
    with refused(DataError, "report.ranks[2].cells.test_seen.ci95[1] "):
        Report.from_dict(content)
    gains = replace(report.gains, test_seen=(0.0, value))
    with refused(DataError, "report.gains.test_seen[1] "):
        replace(report, gains=gains).to_dict()


@pytest.mark.parametrize(
    ("chosen", "fitted", "expected"),
    [
        (4, {0: None, 1: 1, 4: 4, 5: 5}, 4),
        (1, {0: None, 1: 1, 2: 2, 3: 3}, 3),
        (1, {1: 1, 2: 2, 3: 1}, 2),  # rank 3 collapsed to one direction
        (1, {1: 1, 2: 1, 3: 1}, 3),  # all collapsed
        (2, {1: 1, 2: 1, 3: 3}, 2),  # the chosen rank stays, collapsed or not
        (0, {0: None}, 0),  # --ranks 0
        (0, {0: None, 1: 1}, 0),  # the same with the single Bradley-Terry model added
        (1, {0: None, 1: 1}, 1),
        (1, {1: 1, 2: None, 3: 1}, 2),  # reports without fitted ranks
    ],
)
def test_focus_rank(chosen, fitted, expected):
    assert focus_rank(chosen, fitted) == expected


def test_focus_rank_of_a_report_is_an_available_one(report):
    assert report.focus_rank == report.chosen_rank == 3
    absent = replace(report.row(3), available=False, accuracies=None)
    ranks = (*(row for row in report.ranks if row.rank != 3), absent)
    assert replace(report, ranks=ranks, chosen_rank=1).focus_rank == 2


def test_a_report_finds_its_parts(report):
    assert report.available_ranks == [1, 2, 3]
    assert report.row(7) is None
    assert report.accuracy(7, "test_seen") is None
    assert report.accuracy(2, "test_seen") is report.row(2).accuracies["test_seen"]
    found = report.difference(2, "bradley_terry", "test_seen")
    assert (found.rank, found.against, found.split) == (2, "bradley_terry", "test_seen")
    assert found in report.differences_of(2)
    assert report.difference(2, "nobody", "test_seen") is None
    assert report.control(2, "shared_direction") is report.controls_of(2)[0]
    assert report.filled_splits == ["train_seen", "test_seen", "train_unseen", "test_unseen"]
    empty = tuple(replace(row, accuracies=None) for row in report.ranks)
    assert replace(report, ranks=empty).filled_splits == []


def test_was_validated(report):
    assert report.was_validated
    ranks = tuple(replace(row, selection=None) for row in report.ranks)
    assert not replace(report, ranks=ranks).was_validated


def test_a_difference_is_clear_where_its_interval_does_not_hold_0():
    gain, loss, open_, none = (
        estimate(mean, ci95) for mean, ci95 in ((0.2, (0.1, 0.3)), (-0.2, (-0.3, -0.1)), (0.2, (0.0, 0.4)), (0.2, None))
    )
    assert [found.is_clear for found in (gain, loss, open_, none)] == [True, True, False, False]
    assert [found.is_gain for found in (gain, loss, open_, none)] == [True, False, False, False]
    assert [found.is_loss for found in (gain, loss, open_, none)] == [False, True, False, False]


def test_models_that_rank_alike_have_the_same_accuracy():
    assert estimate(0.0, (0.0, 0.0)).is_same
    assert not estimate(0.0, (-0.1, 0.1)).is_same
    assert not estimate(0.0, None).is_same


def test_reports_without_two_way_errors_have_those_over_users():
    one = Estimate(mean=0.5, stderr=0.1, ci95=None, n_users=2)
    assert one.standard_error == 0.1
    assert replace(one, stderr_two_way=0.2).standard_error == 0.2


def test_distribution_of_gains_by_hand():
    gains = Gains(2, "shared_direction", (0.3, -0.1, 1e-7, 0.1, 0.2), ())
    found = gains.distribution("test_seen")
    assert (found.n_users, found.mean) == (5, pytest.approx(0.1))
    assert found.quartiles == pytest.approx((0, 0.1, 0.2), abs=1e-6)
    assert (found.lose, found.same, found.gain) == pytest.approx((0.2, 0.2, 0.6))
    assert list(gains.by_split) == ["test_seen"]


def test_users_by_split_and_their_losses():
    users = tuple(
        UserGain(name, split, 5, 9, gain, (gain - 0.1, gain + 0.1))
        for name, split, gain in (("a", "test_seen", -0.2), ("b", "test_unseen", -0.05), ("c", "test_seen", -1e-7))
    )
    gains = Gains(2, "shared_direction", (), (), users)
    assert {name: [user.user_id for user in some] for name, some in gains.users_by_split.items()} == {
        "test_unseen": ["b"],
        "test_seen": ["a", "c"],
    }
    assert [(user.loses, user.is_loss) for user in users] == [(True, True), (True, False), (False, False)]


def test_losing_users_begin_with_the_largest_loss():
    gains = [0.2, -0.05, -1e-7, -0.2]
    users = tuple(UserGain(str(gain), "test_seen", 5, 9, gain, (gain - 0.1, gain + 0.1)) for gain in gains)
    found = Gains(2, "shared_direction", (), (), users)
    assert [user.gain for user in found.losing] == [-0.2, -0.05]
    assert [user.gains for user in users] == [True, False, False, False]
    assert found.n_expected_losses == pytest.approx(0.1)


def test_mean_gains_of_users_with_about_as_many_comparisons():
    users = tuple(
        UserGain(str(k), "test_seen", n_fitted, 9, gain, (gain - 0.1, gain + 0.1))
        for k, (n_fitted, gain) in enumerate(
            zip([9, 1, 2, 1, 2, 9, 7, 7], [0.4, 0.0, 0.1, 0.1, 0.0, 0.4, 0.2, 0.2], strict=True)
        )
    )
    found = Gains(2, "shared_direction", (), (), users)
    assert found.by_n_fitted("test_seen", 5) == [pytest.approx((1.5, 0.05)), pytest.approx((8, 0.3))]
    assert replace(found, users=users[:3]).by_n_fitted("test_seen", 5) == []
    alike = tuple(replace(user, n_fitted=5) for user in users)
    assert replace(found, users=alike).by_n_fitted("test_seen", 5) == [pytest.approx((5, 0.175))]


def test_the_main_difference_is_to_the_population_model_or_to_what_validation_chose(report):
    main = report.main_difference
    assert (main.rank, main.against, main.split) == (3, "shared_direction", "test_unseen")
    assert report.baseline_accuracy(main) == report.control(3, "shared_direction").accuracy("test_unseen")
    chose_one = replace(report, chosen_rank=1)
    main = chose_one.main_difference
    assert (main.rank, main.against, main.split) == (chose_one.focus_rank, "bradley_terry", "test_unseen")
    assert chose_one.baseline_accuracy(main) == report.accuracy(1, "test_unseen")
    without_validation = tuple(replace(row, selection=None) for row in report.ranks)
    assert replace(chose_one, ranks=without_validation).main_difference.against == "shared_direction"


def test_the_main_difference_is_of_the_seen_users_where_there_are_no_others(report):
    seen = tuple(row for row in report.differences if row.split == "test_seen")
    assert replace(report, differences=seen).main_difference.split == "test_seen"
    assert replace(report, differences=()).main_difference is None


def test_the_gain_is_clear_from_where_the_few_shot_curve_of_its_rank_says_so(report):
    curve = FewShotCurve(3, 20, 9, (), 5, ())
    assert replace(report, few_shot=curve).clear_from == 5
    assert replace(report, few_shot=replace(curve, rank=2)).clear_from is None
    assert replace(report, few_shot=curve, chosen_rank=1).clear_from is None
    assert report.clear_from is None


def test_its_printed_form_names_nobody(report):
    assert repr(report) == "Report(ranks=[1, 2, 3], chosen_rank=3)"
