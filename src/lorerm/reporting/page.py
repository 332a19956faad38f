"""The report as one self-contained HTML page: no network, no scripts, light and dark, on paper and on a phone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lorerm.reporting import content, people, reading, studies
from lorerm.reporting.axes import axes_of
from lorerm.reporting.content import Table
from lorerm.reporting.figures import FIGURES, drawn, to_svg
from lorerm.reporting.glossary import GLOSSARY
from lorerm.reporting.reading import Record
from lorerm.reporting.sentences import headline, really_personal, supporting

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jinja2 import Environment
    from matplotlib.figure import Figure

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Scale:
    """Where a difference stands on the drawing beside its numbers, in per cent of the drawing's width."""

    low: float
    high: float

    def place(self, value: float) -> str:
        """Return the place of a value."""
        return f"{100 * (value - self.low) / (self.high - self.low):.2f}"

    def width(self, low: float, high: float) -> str:
        """Return the length between two values."""
        return f"{100 * (high - low) / (self.high - self.low):.2f}"


def to_html(report: Record, figures: Mapping[str, Figure] | None = None) -> str:
    """Write the report as one HTML file that needs nothing else.

    Parameters
    ----------
    report
        The report, as ``docs/report.md`` describes it. Its texts are escaped.
    figures
        Its figures, where they are drawn already.

    Returns
    -------
    str
        The page; the same report gives the same bytes.

    Raises
    ------
    DataError
        The report is not of this schema.
    """
    reading.check(report)
    rank = reading.focus_rank(report)
    differences = content.difference_tables(report, rank)
    figures = drawn(report) if figures is None else figures
    shots = report.get("shots")
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            source=report["data"].get("source"),
            version=report.get("lorerm_version"),
            headline=re.split(r"([+\N{MINUS SIGN}]?\d+\.\d+ points)", headline(report), maxsplit=1),
            supporting=supporting(report),
            key_facts=content.key_facts(report),
            leak_warnings=content.leak_warnings(report),
            figures={name: to_svg(figures[name]) if name in figures else None for name in FIGURES},
            accuracy_numbers=content.accuracy_numbers(report),
            rank_table=content.rank_table(report),
            interval_table=content.interval_table(report),
            focus_rank=rank,
            really_personal=really_personal(report),
            control_table=content.control_table(report),
            differences=differences,
            scale=_scale(differences),
            shots_rank=shots and shots["rank"],
            shots_table=studies.shots_table(shots) if shots else None,
            gain_rank=(report.get("gains") or {}).get("rank"),
            gain_numbers=content.gain_numbers(report),
            worse_served=people.worse_served(report),
            agreement=people.agreement_facts(report),
            axes=axes_of(report),
            seeds=studies.seeds_tables(report),
            seeds_note=studies.seeds_note(report),
            published=studies.published_table(report),
            data_facts=content.data_facts(report),
            data_cells=content.data_cells_table(report),
            data_warnings=content.data_warnings(report),
            leak_facts=content.leak_facts(report),
            encoder_facts=content.encoder_facts(report),
            selection_table=content.selection_table(report),
            config=content.config_facts(report),
            glossary=GLOSSARY,
        )
    )


def _environment() -> Environment:
    """Return Jinja2 set up so that a text is escaped and a missing name is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _scale(tables: Sequence[Table]) -> Scale:
    """Return the scale on which the intervals of all tables are drawn; zero is always on it."""
    ends = [end for table in tables for row in table.rows if row.bounds for end in row.bounds]
    low, high = min(0.0, *ends, 0.0), max(0.01, *ends, 0.01)
    air = 0.04 * (high - low)
    return Scale(low - air, high + air)
