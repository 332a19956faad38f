"""Tables of the few-shot curve, of several seeds, of the published arrays."""

from __future__ import annotations

from lorerm.reporting.studies import published_table, seeds_note, seeds_tables, shots_table


def test_every_table_is_rectangular(rich_report):
    for table in (shots_table(rich_report["shots"]), published_table(rich_report), *seeds_tables(rich_report)):
        assert {len(row.values) + 1 for row in table.rows} == {len(table.columns)}, table.caption


def test_shots(rich_report):
    table = shots_table(rich_report["shots"])
    assert table.rows[0].values == ("66.0", "63.4 to 68.6", "-", "-", "90")
    assert table.rows[-1].heading == "50"
    assert table.rows[-1].values[2:4] == ("+4.2", "+2.2 to +6.2")


def test_seeds_mark_each_seeds_own_choice(rich_report):
    unseen, _, gains = seeds_tables(rich_report)
    assert [row.heading for row in unseen.rows if row.chosen] == ["each seed's own choice"]
    assert unseen.rows[0].values[1:] == ("1.2", "0.9", "0.8")
    assert gains.rows[0].values[0] == "+4.0"
    assert "rank 4, rank 4, rank 3, rank 4, rank 5" in seeds_note(rich_report)


def test_one_seed_has_no_tables(seen_only_report):
    assert seeds_tables(seen_only_report) == ()
    assert seeds_note(seen_only_report) is None
    assert published_table(seen_only_report) is None
