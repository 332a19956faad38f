"""The report as Markdown and as a table for the terminal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lorerm.reporting import content, people, reading, studies
from lorerm.reporting.axes import axes_of
from lorerm.reporting.content import Facts, Row, Table
from lorerm.reporting.phrases import count
from lorerm.reporting.reading import Record
from lorerm.reporting.sentences import headline, really_personal, supporting

if TYPE_CHECKING:
    from rich.table import Table as RichTable

__all__ = ["console_table", "headline", "to_markdown"]


def to_markdown(report: Record) -> str:
    """Write the report as Markdown: the answer first, then the tables, the data and how it was made.

    Parameters
    ----------
    report
        The report, as ``docs/report.md`` describes it.

    Returns
    -------
    str
        GitHub-flavoured Markdown, ending in a line break.

    Raises
    ------
    DataError
        The report is not of this schema.
    """
    reading.check(report)
    blocks = ["# Report", f"**{headline(report)}**", supporting(report)]
    blocks += [f"> **Leak warning.** {_plain(text)}" for text in content.leak_warnings(report)]
    blocks += ["## Accuracy by rank", *_table(content.rank_table(report))]
    blocks += _table(content.interval_table(report))
    controls, verdict = content.control_table(report), really_personal(report)
    if controls is not None or verdict is not None:
        blocks += ["## Is it really personal?", verdict or "", *_table(controls)]
    rank = reading.focus_rank(report)
    differences = content.difference_tables(report, rank)
    if differences:
        blocks += ["## Differences", *(block for table in differences for block in _table(table))]
        others = sorted({entry["rank"] for entry in report["differences"]} - {rank})
        if others:
            blocks.append(f"`report.json` also has those of the other ranks ({', '.join(map(str, others))}).")
    if report.get("shots"):
        blocks += ["## From few answers", *_table(studies.shots_table(report["shots"]))]
    gains = content.gain_numbers(report)
    if gains is not None:
        blocks += ["## Who gains", *_table(gains), *_table(people.worse_served(report))]
        blocks.append(_facts(people.agreement_facts(report)))
    blocks += _axes_blocks(report)
    seeds = studies.seeds_note(report)
    if seeds is not None:
        blocks += [
            "## Several seeds",
            seeds,
            *(block for table in studies.seeds_tables(report) for block in _table(table)),
        ]
    blocks += _data_blocks(report) + _made_blocks(report)
    return "\n\n".join(block for block in blocks if block) + "\n"


def _axes_blocks(report: Record) -> list[str]:
    """Return the section on what the axes mean, the texts at their ends left to the page."""
    axes = axes_of(report)
    blocks = ["## What the axes mean"] if axes else []
    for axis in axes:
        goes_with = ", ".join(f"{name} {text}" for name, _, text in axis.properties)
        facts = (*axis.facts, *((("goes with", goes_with),) if goes_with else ()))
        blocks += [f"### {_plain(axis.name.capitalize())}", _facts(facts)]
    return blocks


def _data_blocks(report: Record) -> list[str]:
    """Return the section on the data and their warnings."""
    blocks = ["## Data", _facts(content.data_facts(report)), *_table(content.data_cells_table(report))]
    warnings = content.data_warnings(report)
    if warnings:
        blocks += ["### Warnings", "\n".join(f"- {_plain(text)}" for text in warnings)]
    for title, facts in (
        ("Leak check", content.leak_facts(report)),
        ("Encoder", content.encoder_facts(report)),
    ):
        if facts:
            blocks += [f"### {title}", _facts(facts)]
    return blocks


def _made_blocks(report: Record) -> list[str]:
    """Return the section on how the numbers were made."""
    blocks = ["## How it was made", *_table(content.selection_table(report)), *_table(studies.published_table(report))]
    for part, facts in content.config_facts(report):
        blocks += [f"### {part.capitalize()}", _facts(facts)]
    version = report.get("lorerm_version")
    return [*blocks, f"Made by lorerm {_plain(str(version))}." if version else ""]


def _table(table: Table | None) -> list[str]:
    """Write a table, its caption before and its notes after it."""
    if table is None:
        return []
    lines = [
        _line(table.columns),
        _line(["---", *("---:" for _ in table.columns[1:])]),
        *(
            _line([_heading(row), *(_bold(value) if row.chosen else _plain(value) for value in row.values)])
            for row in table.rows
        ),
    ]
    return [f"{table.caption}.", "\n".join(lines), *(_plain(note) for note in table.notes)]


def _line(values: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(values)} |"


def _heading(row: Row) -> str:
    """Write the heading of a row; the chosen one is bold and says so."""
    return f"{_bold(row.heading)} (chosen)" if row.chosen else _plain(row.heading)


def _bold(text: str) -> str:
    return f"**{_plain(text)}**"


def _facts(facts: Facts) -> str:
    return "\n".join(f"- {_plain(name)}: {_plain(value)}" for name, value in facts)


def _plain(text: str) -> str:
    """Write a user's text on one line so that Markdown shows it as it is."""
    one_line = " ".join(text.split())
    return re.sub(r"([\\`*\[\]|])", r"\\\1", one_line).replace("&", "&amp;").replace("<", "&lt;")


def console_table(report: Record) -> RichTable:
    """Return the main table for the terminal, at most 100 columns wide, the chosen rank marked.

    The rows below the line are the controls of the chosen rank, or of the largest where the chosen one is not personal.

    Parameters
    ----------
    report
        The report, as ``docs/report.md`` describes it.

    Returns
    -------
    rich.table.Table
        To be printed by a `rich.console.Console`; its title is the headline, its caption the notes.

    Raises
    ------
    DataError
        The report is not of this schema.
    """
    reading.check(report)
    ranks, controls = content.rank_table(report), content.control_table(report)
    legend = [f"{ranks.caption}; ▸ the chosen rank."]
    if controls is not None:
        legend.append(f"Below the line: rank {reading.focus_rank(report)} with other weights.")
    table = console_frame(headline(report), " ".join([*legend, *ranks.notes]))
    table.add_column(ranks.columns[0], max_width=32)
    for name in ranks.columns[1:]:
        table.add_column(name.replace(", ", ",\n"), justify="right", no_wrap=True)
    for row in ranks.rows:
        _add_row(table, row, "▸ " if row.chosen else "  ", end_section=row is ranks.rows[-1])
    for row in controls.rows[1:] if controls is not None else ():
        _add_row(table, row, "  ")
    return table


def console_frame(title: str, caption: str) -> RichTable:
    """Return a table for the terminal without columns yet, its texts taken literally."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    return RichTable(
        title=Text(title, style="bold"),
        caption=Text(caption),
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
    )


def _add_row(table: RichTable, row: Row, mark: str = "", *, end_section: bool = False) -> None:
    """Add one row, its texts taken literally."""
    from rich.text import Text

    style = "bold" if row.chosen else ""
    table.add_row(*(Text(text, style=style) for text in (mark + row.heading, *row.values)), end_section=end_section)


def console_shots(shots: Record) -> RichTable:
    """Return the few-shot curve for the terminal, at most 100 columns wide.

    Parameters
    ----------
    shots
        The curve, as ``docs/report.md`` describes it.
    """
    numbers = studies.shots_table(shots)
    clear = shots["clear_from"]
    title = (
        "No number of answers gives a clear gain."
        if clear is None
        else f"The gain is clear from {count(clear, 'answer')} on."
    )
    table = console_frame(title, f"{numbers.caption}. {' '.join(numbers.notes)}")
    for column in numbers.columns:
        table.add_column(column, justify="right")
    for row in numbers.rows:
        _add_row(table, row)
    return table
