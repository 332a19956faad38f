"""Rendering of the report as one HTML file without scripts, for light and dark screens, phones and paper."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lorerm.evaluation.report import Report
from lorerm.reporting.figures import draw_figures
from lorerm.reporting.figures.svg import to_svg
from lorerm.reporting.outline import Section, outline
from lorerm.reporting.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TEMPLATES = Path(__file__).parent / "templates"


def to_html(report: Report, figures: Mapping[str, Figure] | None = None) -> str:
    """Return the report as one HTML file that needs no other file and no network.

    `figures` are the report's figures by name; if it is None, they are drawn. Equal reports give identical bytes.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found = outline(report)
    figures = draw_figures(report) if figures is None else figures
    low, high = _limits(found.sections)
    scale = 100 / (high - low)
    return environment.get_template("report.html.j2").render(
        source=report.data.source,
        outline=found,
        # Split around the first difference, which the template highlights.
        headline=re.split(r"([+\N{MINUS SIGN}]?\d+\.\d+ points)", found.headline, maxsplit=1),
        figures={name: to_svg(figure) for name, figure in figures.items()},
        # Both are in per cent of the width of the column that draws intervals.
        position=lambda value: f"{scale * (value - low):.2f}",
        width=lambda start, end: f"{scale * (end - start):.2f}",
    )


def _limits(sections: Sequence[Section]) -> tuple[float, float]:
    """Return the ends of the common scale for the intervals that are drawn in tables; the scale includes 0."""
    tables = [block for section in sections for block in section.blocks if isinstance(block, Table)]
    ends = [end for table in tables for row in table.rows if row.bounds for end in row.bounds]
    low, high = min([0.0, *ends]), max([0.01, *ends])
    margin = 0.04 * (high - low)
    return low - margin, high + margin
