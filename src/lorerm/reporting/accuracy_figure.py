"""The figure of accuracy against rank: personal weights, the shared direction, the reference head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from lorerm.errors import DataError
from lorerm.reporting import reading
from lorerm.reporting.panels import PANELS, name_lines, panels
from lorerm.reporting.phrases import percent
from lorerm.reporting.reading import Record
from lorerm.reporting.svg import ACCENT, INK, PAPER, drawing_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Mark: TypeAlias = "tuple[float, float, tuple[float, float] | None]"
"""A place on the rank axis, a mean and its 95% interval, in per cent."""

LineStyle: TypeAlias = "str | tuple[int, tuple[int, int]]"

_APART = 0.1  # distance of the shared direction's marks from those of the personal weights, in ranks


def accuracy_by_rank(report: Record) -> Figure:
    """Draw accuracy on test prompts against rank, one panel each for unseen and seen users.

    Each panel has the personal weights with their 95% intervals, the same rank's shared direction, and a line for the
    reference head where there is one. The chosen rank stands on a band.

    Parameters
    ----------
    report
        The report, as ``docs/report.md`` describes it.

    Returns
    -------
    matplotlib.figure.Figure
        Its label is its title, its panels' labels say in words what they show.

    Raises
    ------
    DataError
        No rank has an accuracy on test prompts.
    """
    names = [name for name in PANELS if name in reading.filled_cells(report)]
    if not names:
        raise DataError("the report has no accuracy on test prompts", "evaluate on users with pairs on test prompts")
    with drawing_style():
        figure, axes = panels(names, "Correctly predicted choices, per cent", panel_height=1.75, right=0.70)
        figure.set_gid("accuracy-by-rank")
        figure.set_label("Accuracy on test prompts by rank")
        limits = _accuracy_limits(report, names)
        for name, ax in zip(names, axes, strict=True):
            ax.set_ylim(*limits)
            _draw_panel(ax, report, name)
            ax.set_label(_describe_ranks(report, name))
        axes[-1].set_xlabel("Rank: number of reward directions", loc="left")
    return figure


def _draw_panel(ax: Axes, report: Record, name: str) -> None:
    """Draw one panel: the chosen rank's band, the lines, and their names to the right."""
    entries = [entry for entry in report["ranks"] if entry["available"]]
    places = {entry["rank"]: float(place) for place, entry in enumerate(entries)}
    chosen = report["chosen_rank"]
    ax.set_xticks(list(places.values()), [f"{rank}\nchosen" if rank == chosen else str(rank) for rank in places])
    centre, half = (len(entries) - 1) / 2, max(len(entries) / 2, 1.5) + 0.05
    ax.set_xlim(centre - half, centre + half)
    if chosen in places:
        ax.axvspan(places[chosen] - 0.38, places[chosen] + 0.38, color=ACCENT, alpha=0.13, linewidth=0)
    shared = [control for control in report.get("controls") or [] if control["name"] == "shared_direction"]
    names = {}
    fitted = _marks([entry for entry in entries if entry["rank"] >= 1], name, places, shift=-_APART / 2)
    if fitted:
        _draw_line(ax, fitted, color=ACCENT, marker="o")
        if 1 in places:  # the one direction for everybody is not personal: an open circle
            place = places[1] - _APART / 2
            _draw_line(ax, [mark for mark in fitted if mark[0] == place], color=ACCENT, marker="o", hollow=True)
        names["personal weights" if entries[-1]["rank"] >= 2 else "one direction"] = fitted[-1][1]
    alike = _marks([control for control in shared if control["rank"] in places], name, places, shift=_APART / 2)
    if alike:
        _draw_line(ax, alike, color=INK, marker="s", linestyle=(0, (4, 2)), hollow=True)
        names["shared direction"] = alike[-1][1]
    head = _marks([entry for entry in entries if entry["rank"] == 0], name, places)
    if head:
        ax.axhline(head[0][1], color=INK, alpha=0.7, linewidth=1, linestyle=(0, (1, 2)))
        _draw_line(ax, head, color=INK, marker="D")
        names["reference head"] = head[0][1]
    name_lines(ax, names, ours=("personal weights", "one direction"))


def _marks(entries: Sequence[Record], name: str, places: Mapping[int, float], shift: float = 0.0) -> list[Mark]:
    """Return the marks of some ranks or controls in one cell, leaving out what has no value."""
    found = [(places[entry["rank"]] + shift, reading.cell(entry, name)) for entry in entries]
    return [
        (place, 100 * cell["mean"], cell["ci95"] and (100 * cell["ci95"][0], 100 * cell["ci95"][1]))
        for place, cell in found
        if cell is not None
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
    """Draw marks, joined, with their 95% intervals where they have one."""
    for place, _, bounds in marks:
        if bounds is not None:
            ax.vlines(place, *bounds, color=color, linewidth=1.2, alpha=0.75)
    ax.plot(
        [place for place, _, _ in marks],
        [mean for _, mean, _ in marks],
        color=color,
        linewidth=1.8,
        linestyle=linestyle,
        marker=marker,
        markersize=5.5,
        markerfacecolor=PAPER if hollow else color,
        markeredgewidth=1.3,
    )


def _accuracy_limits(report: Record, names: Sequence[str]) -> tuple[float, float]:
    """Return the limits of the accuracy axis: all intervals with some air."""
    entries = [
        *report["ranks"],
        *(entry for entry in report.get("controls") or [] if entry["name"] == "shared_direction"),
    ]
    ends = []
    for entry in entries:
        for name in names:
            found = reading.cell(entry, name)
            if found is not None:
                ends += [100 * bound for bound in found["ci95"] or (found["mean"], found["mean"])]
    air = max(0.06 * (max(ends) - min(ends)), 0.5)
    return min(ends) - air, max(ends) + air


def _describe_ranks(report: Record, name: str) -> str:
    """Say in words what a panel of accuracy against rank shows."""
    means = [
        f"rank {entry['rank']} {percent(found['mean'])}"
        for entry in report["ranks"]
        if (found := reading.cell(entry, name)) is not None
    ]
    return f"{PANELS[name]}, accuracy in per cent: {', '.join(means)}."
