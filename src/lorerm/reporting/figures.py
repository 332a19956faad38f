"""The report's figures by name, and as files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lorerm.errors import DataError
from lorerm.reporting.accuracy_figure import accuracy_by_rank
from lorerm.reporting.gain_figure import gain_distribution
from lorerm.reporting.people_figures import gain_by_answers, weights_map
from lorerm.reporting.reading import Record
from lorerm.reporting.shots_figure import shots_curve, shots_people
from lorerm.reporting.svg import MARGIN, PAPER, drawing_style, to_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FIGURES", "drawn", "save_figures", "to_svg"]

FIGURES: Mapping[str, Callable[[Record], Figure]] = {
    "accuracy_by_rank": accuracy_by_rank,
    "shots_curve": shots_curve,
    "shots_people": shots_people,
    "gain_distribution": gain_distribution,
    "gain_by_answers": gain_by_answers,
    "weights_map": weights_map,
}
"""The figures of the report by name."""


def drawn(report: Record) -> dict[str, Figure]:
    """Draw every figure that the report has what it takes for, by name."""
    found = {name: _drawn(draw, report) for name, draw in FIGURES.items()}
    return {name: figure for name, figure in found.items() if figure is not None}


def _drawn(draw: Callable[[Record], Figure], report: Record) -> Figure | None:
    try:
        return draw(report)
    except DataError:
        return None


def save_figures(figures: Mapping[str, Figure], folder: str | Path) -> tuple[Path, ...]:
    """Write figures as SVG and PNG; the same report gives the same bytes.

    Parameters
    ----------
    figures
        By name, as `drawn` returns them.
    folder
        Where to write; made if it is missing. A figure of the report that is not given is removed from it.

    Returns
    -------
    tuple of pathlib.Path
        The files written.

    Raises
    ------
    RunError
        A file cannot be written.
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
