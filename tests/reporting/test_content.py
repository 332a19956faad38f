"""The tables as plain values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorerm.reporting import content


def test_every_table_is_rectangular(report):
    tables = [
        content.rank_table(report),
        content.control_table(report),
        *content.difference_tables(report, report["chosen_rank"]),
        content.accuracy_numbers(report),
        content.gain_numbers(report),
        content.data_cells_table(report),
        content.selection_table(report),
    ]
    for table in filter(None, tables):
        assert {len(row.values) + 1 for row in table.rows} == {len(table.columns)}, table.caption


def test_rank_table_marks_the_chosen_rank_alone(rich_report):
    assert [row.heading for row in content.rank_table(rich_report).rows if row.chosen] == ["LoRe, K = 4"]


def test_a_rank_that_is_not_available_has_dashes_and_its_reason(impersonal_report):
    table = content.rank_table(impersonal_report)
    assert table.rows[0].values == ("-", "-", "-", "-")
    assert table.notes == ("No values for the reference head: the encoder has no reference head.",)


def test_empty_cells_are_named(seen_only_report):
    table = content.rank_table(seen_only_report)
    assert table.columns == ("Rank", "seen users, train prompts", "seen users, test prompts")
    assert "unseen users, test prompts" in table.notes[0]


def test_controls_are_those_of_the_rank_in_focus(rich_report):
    table = content.control_table(rich_report)
    headings = [row.heading for row in table.rows]
    assert headings == ["own weights (rank 4)", "shared direction alone", "another user's weights"]
    assert table.rows[0].values == content.rank_table(rich_report).rows[4].values


def test_no_controls_no_table(rich_report):
    assert content.control_table(rich_report | {"controls": []}) is None


def test_differences_are_split_by_cell_unseen_users_first(rich_report):
    unseen, seen = content.difference_tables(rich_report, 4)
    assert "unseen users" in unseen.caption
    assert "unseen users" not in seen.caption
    assert len(unseen.rows) == len(seen.rows) == 4


def test_a_difference_without_interval_is_not_drawn(rich_report):
    for row in rich_report["differences"]:
        row["ci95"] = None
    assert {row.bounds for table in content.difference_tables(rich_report, 4) for row in table.rows} == {None}


def test_gain_numbers_of_known_gains(rich_report):
    rich_report["gains"].update(test_unseen=[-0.1, 0.0, 0.0, 0.2, 0.4], test_seen=[])
    (row,) = content.gain_numbers(rich_report).rows
    assert row.values == ("5", "+10.0", "0.0", "0.0", "+20.0", "20.0", "40.0", "40.0")


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=50))
def test_gain_shares_add_up(gains):
    shares = content.gain_shares(gains)
    assert sum(shares) == pytest.approx(1)
    assert all(-1e-9 <= share <= 1 for share in shares)


def test_rounding_errors_are_not_gains():
    assert content.gain_shares([1e-16, -1e-16]) == (0, 1, 0)


def test_optional_parts_may_be_missing(seen_only_report):
    assert content.encoder_facts(seen_only_report) == ()
    assert content.leak_facts(seen_only_report) == ()
    assert content.config_facts(seen_only_report) == ()
    assert content.selection_table(seen_only_report) is None
