"""The report as Markdown and for the terminal."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from lorerm.errors import DataError
from lorerm.reporting.tables import console_table, headline, to_markdown


def printed(report, width=100):
    """Return the lines that a terminal of some width shows."""
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(console_table(report))
    return console.file.getvalue().splitlines()


def test_markdown_answers_first(report):
    assert to_markdown(report).splitlines()[2] == f"**{headline(report)}**"


def test_markdown_has_every_rank_with_its_error(rich_report):
    text = to_markdown(rich_report)
    cell = rich_report["ranks"][4]["cells"]["test_unseen"]
    assert f"**{100 * cell['mean']:.1f} ± {100 * cell['stderr']:.1f}** |" in text
    assert "| **LoRe, K = 4** (chosen) |" in text
    assert "| another user's weights |" in text


def test_markdown_tables_have_as_many_cells_as_columns(report):
    """A bar in a user's text must not open a new column."""
    for block in to_markdown(report).split("\n\n"):
        if block.startswith("|"):
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_markdown_shows_users_texts_as_they_are(impersonal_report):
    text = to_markdown(impersonal_report)
    assert "<script>" not in text
    assert "&lt;script>" in text
    assert r"warning \| with a bar" in text


def test_markdown_warns_of_leaks_before_the_numbers(impersonal_report):
    text = to_markdown(impersonal_report)
    assert text.index("**Leak warning.**") < text.index("| Rank |")


def test_markdown_has_no_wide_gaps(report):
    assert "\n\n\n" not in to_markdown(report)
    assert to_markdown(report).endswith("\n")


def test_markdown_without_optional_parts(rich_report):
    for key in ("config", "controls", "differences", "gains", "lorerm_version"):
        del rich_report[key]
    assert "| LoRe, K = 6 |" in to_markdown(rich_report)


def test_markdown_refuses_what_is_no_report():
    with pytest.raises(DataError):
        to_markdown({})


def test_console_table_fits_a_hundred_columns(report):
    """No value is cut or broken: every row is one line."""
    lines = printed(report)
    assert max(map(len, lines)) <= 100
    assert not any("…" in line for line in lines)
    rows = [line for line in lines if "±" in line and "standard error" not in line]
    assert len(rows) == sum(entry["available"] for entry in report["ranks"]) + 2


def test_console_table_marks_the_chosen_rank_alone(rich_report):
    assert [line.split("  ")[1] for line in printed(rich_report) if line.strip().startswith("▸")] == ["▸ LoRe, K = 4"]


def test_console_table_takes_texts_literally(rich_report):
    rich_report["controls"][4]["label"] = "[red]shared[/red]"
    assert any("[red]shared[/red]" in line for line in printed(rich_report))
