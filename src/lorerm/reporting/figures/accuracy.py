"""Figure of accuracy by rank.

It shows three models: each user's own weights (personal weights), one reward for all users (the population model), and
the encoder's own reward head (the reference head).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from lorerm.errors import DataError
from lorerm.evaluation.report import Control, RankRow, Report
from lorerm.reporting.figures.panels import PANELS, name_lines, panels
from lorerm.reporting.figures.svg import ACCENT, INK, PAPER, drawing_style
from lorerm.reporting.phrases import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Mark: TypeAlias = "tuple[float, float, tuple[float, float] | None]"
"""Position on the rank axis, mean and 95% interval in per cent."""

LineStyle: TypeAlias = "str | tuple[int, tuple[int, int]]"

PERSONAL, POPULATION, REFERENCE, SINGLE = "personal weights", "population model", "reference head", "Bradley-Terry"
"""Names of the lines in the figure."""

_APART = 0.1  # horizontal distance between the marks of the two models at one rank, in ranks


@drawing_style()
def accuracy_by_rank(report: Report) -> Figure:
    """Draw accuracy on test prompts by rank, with one panel each for unseen and seen users.

    A panel shows the accuracies with personal weights and with the population model of the same rank, each with 95%
    intervals, and a line for the reference head if there is one. A band marks the chosen rank. Raises `DataError` if
    no rank has an accuracy on test prompts.
    """
    names = [name for name in PANELS if name in report.filled_splits]
    if not names:
        raise DataError(
            "the report has no accuracy on test prompts", "evaluate on users with comparisons on test prompts"
        )
    title, heading = "Accuracy on test prompts by rank", "Correctly predicted comparisons, per cent"
    figure, axes = panels("accuracy-by-rank", title, names, heading, panel_height=1.75, right=0.70)
    limits = _limits(report, names)
    for name, ax in zip(names, axes, strict=True):
        ax.set_ylim(*limits)
        _draw_panel(ax, report, name)
        found = ((row.rank, row.accuracy(name)) for row in report.ranks)
        means = ", ".join(f"rank {rank} {percent(one.mean)}" for rank, one in found if one is not None)
        ax.set_label(f"{PANELS[name]}, accuracy in per cent: {means}.")
    axes[-1].set_xlabel("Rank: number of reward directions", loc="left")
    return figure


def _draw_panel(ax: Axes, report: Report, name: str) -> None:
    """Draw one panel: the band of the chosen rank, the lines, and their names to the right."""
    rows = [row for row in report.ranks if row.available]
    position = {row.rank: float(index) for index, row in enumerate(rows)}
    chosen = report.chosen_rank
    ax.set_xticks(list(position.values()), [f"{rank}\nchosen" if rank == chosen else str(rank) for rank in position])
    centre, half = (len(rows) - 1) / 2, max(len(rows) / 2, 1.5) + 0.05
    ax.set_xlim(centre - half, centre + half)
    if chosen in position:
        ax.axvspan(position[chosen] - 0.38, position[chosen] + 0.38, color=ACCENT, alpha=0.13, linewidth=0)
    names = {}
    fitted = _marks([row for row in rows if row.rank > 0], name, position, shift=-_APART / 2)
    if fitted:
        _draw_line(ax, fitted, color=ACCENT, marker="o")
        if 1 in position:  # an open circle, since rank 1 has no personal weights: all users share one direction
            single = [mark for mark in fitted if mark[0] == position[1] - _APART / 2]
            _draw_line(ax, single, color=ACCENT, marker="o", hollow=True)
        names[PERSONAL if rows[-1].rank > 1 else SINGLE] = fitted[-1][1]
    controls = [row for row in report.controls if row.name == "shared_direction" and row.rank in position]
    population = _marks(controls, name, position, shift=_APART / 2)
    if population:
        _draw_line(ax, population, color=INK, marker="s", linestyle=(0, (4, 2)), hollow=True)
        names[POPULATION] = population[-1][1]
    reference = _marks([row for row in rows if row.rank == 0], name, position)
    if reference:
        ax.axhline(reference[0][1], color=INK, alpha=0.7, linewidth=1, linestyle=(0, (1, 2)))
        _draw_line(ax, reference, color=INK, marker="D")
        names[REFERENCE] = reference[0][1]
    name_lines(ax, names, ours=(PERSONAL, SINGLE))


def _marks(
    rows: Sequence[RankRow | Control], name: str, position: Mapping[int, float], shift: float = 0.0
) -> list[Mark]:
    """Return the marks of report rows (ranks, or ranks with other weights) on one split, if they have an accuracy."""
    found = [(position[row.rank] + shift, row.accuracy(name)) for row in rows]
    return [
        (x, 100 * estimate.mean, estimate.ci95 and (100 * estimate.ci95[0], 100 * estimate.ci95[1]))
        for x, estimate in found
        if estimate is not None
    ]


def _draw_line(
    ax: Axes,
    marks: Sequence[Mark],
    *,
    color: str,
    marker: str,
    linestyle: LineStyle = "-",
    hollow: bool = False,
) -> None:
    """Draw marks joined by a line, with their 95% intervals if they have any."""
    for x, _, bounds in marks:
        if bounds is not None:
            ax.vlines(x, *bounds, color=color, linewidth=1.2, alpha=0.75)
    ax.plot(
        [x for x, _, _ in marks],
        [mean for _, mean, _ in marks],
        color=color,
        linewidth=1.8,
        linestyle=linestyle,
        marker=marker,
        markersize=5.5,
        markerfacecolor=PAPER if hollow else color,
        markeredgewidth=1.3,
    )


def _limits(report: Report, names: Sequence[str]) -> tuple[float, float]:
    """Return limits of the accuracy axis that include all intervals and a margin."""
    population = (row for row in report.controls if row.name == "shared_direction")
    rows: list[RankRow | Control] = [*report.ranks, *population]
    found = [estimate for row in rows for name in names if (estimate := row.accuracy(name)) is not None]
    ends = [100 * end for estimate in found for end in estimate.ci95 or (estimate.mean,)]
    margin = max(0.06 * (max(ends) - min(ends)), 0.5)
    return min(ends) - margin, max(ends) + margin
