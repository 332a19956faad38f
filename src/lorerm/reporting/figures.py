"""The report's two figures by name, and as files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lorerm.errors import DataError
from lorerm.reporting.accuracy_figure import accuracy_by_rank
from lorerm.reporting.gain_figure import gain_distribution
from lorerm.reporting.reading import Record
from lorerm.reporting.svg import MARGIN, PAPER, drawing_style, to_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FIGURES", "accuracy_by_rank", "gain_distribution", "save_figures", "to_svg"]

FIGURES: Mapping[str, Callable[[Record], Figure]] = {
    "accuracy_by_rank": accuracy_by_rank,
    "gain_distribution": gain_distribution,
}
"""The figures of the report by name."""


def save_figures(report: Record, folder: str | Path) -> tuple[Path, ...]:
    """Write every figure that the report has as SVG and PNG; the same report gives the same bytes.

    Parameters
    ----------
    report
        The report, as ``docs/report.md`` describes it.
    folder
        Where to write; made if it is missing. A figure that this report does not have is removed from it.

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
    for name, draw in FIGURES.items():
        svg, png = folder / f"{name}.svg", folder / f"{name}.png"
        try:
            figure = draw(report)
        except DataError:
            svg.unlink(missing_ok=True)
            png.unlink(missing_ok=True)
            continue
        with atomic_path(svg) as temporary:
            temporary.write_text(to_svg(figure, standalone=True), encoding="utf-8")
        with atomic_path(png) as temporary, drawing_style():
            figure.savefig(temporary, format="png", dpi=200, facecolor=PAPER, metadata={"Software": None}, **MARGIN)
        written += [svg, png]
    return tuple(written)
