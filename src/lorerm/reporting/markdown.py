"""Rendering of the report as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lorerm.evaluation.report import Report
from lorerm.reporting.outline import Block, Section, Text, Warnings, outline
from lorerm.reporting.tables import AxisWords, Facts, NamedValues, Row, Table


def to_markdown(report: Report) -> str:
    """Return the report as GitHub-flavoured Markdown: the summary, then all sections without their figures."""
    found = outline(report)
    blocks = ["# Report", f"**{_plain(found.headline)}**", _plain(found.summary)]
    blocks += [f"**What to do next:** {_plain(found.next_step)}", _plain(found.further)]
    blocks += [f"> **Leak warning.** {_plain(text)}" for text in found.leak_warnings]
    blocks += [f"> **To check.** {_plain(text)}" for text in found.checks]
    for section in found.sections:
        blocks += _section(section)
    return "\n\n".join(block for block in [*blocks, f"{_plain(found.made_by)}."] if block) + "\n"


def _section(section: Section) -> list[str]:
    """Return the blocks of a section; none if it has only figures, which Markdown leaves out."""
    blocks = [text for block in section.blocks for text in _block(block)]
    return [f"## {section.title}", *blocks] if blocks else []


def _block(block: Block) -> list[str]:
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Facts):
        return [f"### {_plain(block.title)}" if block.title else "", _facts(block.items)]
    if isinstance(block, Warnings):
        return ["### Warnings", "\n".join(f"- {_plain(text)}" for text in block.texts)]
    if isinstance(block, AxisWords):
        correlates = ", ".join(f"{name} {text}" for name, _, text in block.properties)
        facts = (*block.facts, *((("correlates with", correlates),) if correlates else ()))
        return [f"### {_plain(block.name.capitalize())}", _facts(facts)]
    return [block.text] if isinstance(block, Text) else []


def _table(table: Table) -> list[str]:
    """Return the caption, the table and its notes."""
    lines = [
        _line([_plain(column) for column in table.columns]),
        _line(["---", *("---:" for _ in table.columns[1:])]),
        *(_line(_cells(row)) for row in table.rows),
    ]
    return [f"{_plain(table.caption)}.", "\n".join(lines), *(_plain(note) for note in table.notes)]


def _cells(row: Row) -> list[str]:
    if not row.chosen:
        return [_plain(text) for text in (row.heading, *row.values)]
    heading, *values = (f"**{_plain(text)}**" for text in (row.heading, *row.values))
    return [f"{heading} (chosen)", *values]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _facts(facts: NamedValues) -> str:
    return "\n".join(f"- {_plain(name)}: {_plain(value)}" for name, value in facts)


def _plain(text: str) -> str:
    """Put a text on one line and escape characters that Markdown would interpret."""
    one_line = " ".join(text.split())
    return re.sub(r"([\\`*\[\]|])", r"\\\1", one_line).replace("&", "&amp;").replace("<", "&lt;")
