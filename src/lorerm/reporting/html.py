"""The report as one self-contained HTML page without scripts, for light and dark screens, phones and paper."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lorerm.evaluation.report import Report
from lorerm.reporting.figures import draw_figures
from lorerm.reporting.figures.svg import to_svg
from lorerm.reporting.outline import Section, outline
from lorerm.reporting.tables import Table

if TYPE_CHECKING:
    from jinja2 import Environment
    from matplotlib.figure import Figure

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Scale:
    """Scale of the intervals that are drawn beside their numbers, in per cent of the drawing's width."""

    low: float
    high: float

    def at(self, value: float) -> str:
        """Return the position of a value."""
        return f"{100 * (value - self.low) / (self.high - self.low):.2f}"

    def between(self, low: float, high: float) -> str:
        """Return the distance of two values."""
        return f"{100 * (high - low) / (self.high - self.low):.2f}"


def to_html(report: Report, figures: Mapping[str, Figure] | None = None) -> str:
    """Write the report as one HTML file that needs no other file and no network.

    Parameters
    ----------
    report
        The report. Its texts are escaped.
    figures
        The figures by name; None draws them.

    Returns
    -------
    str
        The page; the same report gives the same bytes.
    """
    found = outline(report)
    figures = draw_figures(report) if figures is None else figures
    page = _environment().get_template("report.html.j2")
    return page.render(
        source=report.data.source,
        outline=found,
        # The first difference of the headline is highlighted.
        headline=re.split(r"([+\N{MINUS SIGN}]?\d+\.\d+ points)", found.headline, maxsplit=1),
        figures={name: to_svg(figure) for name, figure in figures.items()},
        scale=_scale(found.sections),
    )


def _environment() -> Environment:
    """Return a Jinja2 environment that escapes texts and refuses undefined names."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _scale(sections: Sequence[Section]) -> Scale:
    """Return one scale for the intervals of all tables, with 0 on it."""
    tables = [block for section in sections for block in section.blocks if isinstance(block, Table)]
    ends = [end for table in tables for row in table.rows if row.bounds for end in row.bounds]
    low, high = min(0.0, *ends, 0.0), max(0.01, *ends, 0.01)
    margin = 0.04 * (high - low)
    return Scale(low - margin, high + margin)
