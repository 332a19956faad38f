"""The figures of the report: functions that draw them, by name, and that write them to files."""

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
"""Functions that draw the figures, by name of the figure, which is also the name of its files."""


def draw_figures(report: Report) -> dict[str, Figure]:
    """Draw every figure for which the report has the results; return the figures by name."""
    found = {}
    for name, draw in FIGURES.items():
        with suppress(DataError):  # raised if the report lacks the results that the figure shows
            found[name] = draw(report)
    return found


def save_figures(figures: Mapping[str, Figure], folder: str | Path) -> tuple[Path, ...]:
    """Write figures, as returned by `draw_figures`, to SVG and PNG files; return the files' paths.

    Equal reports give identical bytes. If a figure of `FIGURES` is not in `figures`, its files are deleted.
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
