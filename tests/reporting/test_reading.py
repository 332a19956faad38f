"""Finding things in a report."""

from __future__ import annotations

import pytest

from lorerm.errors import DataError
from lorerm.reporting import reading


def test_samples_are_reports(report):
    reading.check(report)


@pytest.mark.parametrize("key", ["schema_version", "data", "ranks", "chosen_rank"])
def test_a_missing_part_is_named(rich_report, key):
    del rich_report[key]
    with pytest.raises(DataError, match=key):
        reading.check(rich_report)


def test_another_schema_is_refused(rich_report):
    with pytest.raises(DataError, match="schema version 2"):
        reading.check(rich_report | {"schema_version": 2})


def test_a_chosen_rank_that_is_not_there_is_refused(rich_report):
    with pytest.raises(DataError, match="chosen rank 9"):
        reading.check(rich_report | {"chosen_rank": 9})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_json_cannot_hold_is_named_by_its_path(rich_report, value):
    rich_report["ranks"][2]["cells"]["test_seen"]["ci95"][1] = value
    with pytest.raises(DataError, match=r"report\.ranks\[2\]\.cells\.test_seen\.ci95\[1\]"):
        reading.check(rich_report)


def test_focus_is_the_chosen_rank_or_the_largest_personal_one(rich_report, impersonal_report):
    assert reading.focus_rank(rich_report) == 4
    assert reading.focus_rank(impersonal_report) == 3


def test_focus_without_personal_ranks_is_the_chosen_one(impersonal_report):
    impersonal_report["ranks"] = impersonal_report["ranks"][:2]
    assert reading.focus_rank(impersonal_report) == 1


def test_cells_without_users_are_left_out(rich_report, seen_only_report):
    assert reading.filled_cells(rich_report) == ["train_seen", "test_seen", "train_unseen", "test_unseen"]
    assert reading.filled_cells(seen_only_report) == ["train_seen", "test_seen"]


def test_difference_is_found_by_rank_comparison_and_cell(rich_report):
    found = reading.difference(rich_report, 2, "bradley_terry", "test_seen")
    assert (found["rank"], found["against"], found["cell"]) == (2, "bradley_terry", "test_seen")
    assert reading.difference(rich_report, 2, "nobody", "test_seen") is None


def test_gains_may_be_missing_null_or_empty(rich_report):
    assert list(reading.gains_of(rich_report)) == ["test_unseen", "test_seen"]
    empty = {"rank": 1, "against": "shared_direction", "test_seen": [], "test_unseen": []}
    for gains in (None, empty):
        assert reading.gains_of(rich_report | {"gains": gains}) == {}
    del rich_report["gains"]
    assert reading.gains_of(rich_report) == {}
