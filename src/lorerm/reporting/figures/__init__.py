"""The report's figures: drawn by name, and written to files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lorerm.errors import DataError
from lorerm.evaluation.report import Report
from lorerm.reporting.figures.accuracy import accuracy_by_rank
from lorerm.reporting.figures.few_shot import shots_curve, shots_people
from lorerm.reporting.figures.gains import gain_by_answers, gain_distribution, weights_map
from lorerm.reporting.figures.svg import MARGIN, PAPER, drawing_style, to_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES: Mapping[str, Callable[[Report], Figure]] = {
    "accuracy_by_rank": accuracy_by_rank,
    "shots_curve": shots_curve,
    "shots_people": shots_people,
    "gain_distribution": gain_distribution,
    "gain_by_answers": gain_by_answers,
    "weights_map": weights_map,
}
"""The functions that draw the figures, by the name of the figure and of its files."""


def draw_figures(report: Report) -> dict[str, Figure]:
    """Draw every figure for which the report has the content, by name."""
    found = {}
    for name, draw in FIGURES.items():
        with suppress(DataError):  # raised where the report lacks what the figure shows
            found[name] = draw(report)
    return found


def save_figures(figures: Mapping[str, Figure], folder: str | Path) -> tuple[Path, ...]:
    """Write figures, as `draw_figures` returns them, as SVG and PNG; return the files' paths.

    The same report gives the same bytes. Files of figures that are not given are removed from the folder.
    """
    from lorerm.atomic import atomic_path

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in FIGURES:
        svg, png = folder / f"{name}.svg", folder / f"{name}.png"
        if name not in figures:
            svg.unlink(missing_ok=True)
            png.unlink(missing_ok=True)
            continue
        with atomic_path(svg) as temporary:
            temporary.write_text(to_svg(figures[name], standalone=True), encoding="utf-8")
        with atomic_path(png) as temporary, drawing_style():
            figures[name].savefig(
                temporary, format="png", dpi=200, facecolor=PAPER, metadata={"Software": None}, **MARGIN
            )
        written += [svg, png]
    return tuple(written)
