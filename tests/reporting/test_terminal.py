"""The report for the terminal."""

from __future__ import annotations

import io

from rich.console import Console

from lorerm.evaluation.json_records import from_json
from lorerm.evaluation.report import Report, RunComparison
from lorerm.reporting.outline import outline
from lorerm.reporting.terminal import comparison_blocks, few_shot_block, report_blocks


def printed(blocks, width=100):
    """Return the lines that a terminal of some width shows."""
    console = Console(width=width, file=io.StringIO(), color_system=None)
    for block in blocks:
        console.print(block)
    return console.file.getvalue().splitlines()


def test_the_headline_and_the_summary_come_first(content):
    report = Report.from_dict(content)
    found = outline(report)
    text = " ".join(" ".join(printed(report_blocks(report))).split())
    positions = [text.index(part) for part in (found.headline, found.summary, found.next_step, "Rank")]
    assert positions == sorted(positions)
    assert positions[0] == 0


def test_the_table_fits_a_hundred_columns(content):
    """No value is cut or broken: every row is one line."""
    lines = printed(report_blocks(Report.from_dict(content)))
    assert max(map(len, lines)) <= 100
    assert not any("…" in line for line in lines)
    rows = [line for line in lines if "±" in line and "standard error" not in line]
    assert len(rows) == sum(row["available"] for row in content["ranks"]) + 2
    assert all(line.startswith("  ") and line.strip()[0] in "▸rspoa" for line in rows), rows


def test_the_chosen_rank_alone_is_marked(rich):
    lines = printed(report_blocks(Report.from_dict(rich)))
    marked = [line for line in lines if line.strip().startswith("▸")]
    assert [line.split("  ")[1] for line in marked] == ["▸ personal weights (K = 4)"]


def test_leak_warnings_are_printed(impersonal):
    text = " ".join(" ".join(printed(report_blocks(Report.from_dict(impersonal)))).split())
    assert impersonal["data"]["leaks"]["warnings"][0] in text


def test_texts_of_the_data_are_taken_literally(impersonal):
    impersonal["data"]["source"] = "[red]logs[/red]"
    impersonal["ranks"][0]["reason"] = "[blue]none[/blue]"
    text = "\n".join(printed(report_blocks(Report.from_dict(impersonal))))
    assert "[red]logs[/red]" in text
    assert "[blue]none[/blue]" in text


def test_the_few_shot_curve_fits_a_hundred_columns(rich):
    lines = printed([few_shot_block(Report.from_dict(rich).few_shot)])
    assert max(map(len, lines)) <= 100
    assert sum("60" in line or "to +" in line for line in lines) >= 6


def test_compared_runs():
    accuracy = {"mean": 0.7, "stderr": 0.01, "ci95": [0.67, 0.73], "n_users": 9}
    run = {"source": None, "encoder": None, "recipe": None, "chosen_rank": 3, "cells": {"test_seen": accuracy}}
    row = {"run": "b [bold]", "against": "a", "cell": "test_seen", **accuracy, "ci95": [0.01, 0.03]}
    content = {"runs": [{"name": "a", **run}, {"name": "b [bold]", **run}], "paired": [row]}
    lines = printed(comparison_blocks(from_json(RunComparison, content, "comparison")))
    text = "\n".join(lines)
    assert max(map(len, lines)) <= 100
    assert text.count("b [bold]") == 2
    assert text.count("70.0 ± 1.0") == 2
    assert "+1.0 to +3.0" in text
