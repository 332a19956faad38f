"""Layout of the figures: stacked panels with titles, names beside lines, signed numbers on an axis."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from lorerm.reporting.figures.svg import ACCENT, INK
from lorerm.reporting.phrases import MINUS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = {"test_unseen": "Unseen users", "test_seen": "Seen users"}
"""The splits that have a panel, from top to bottom, with the panel's title."""

_WIDTH = 5.8  # inches; narrow, so that the text is readable at a phone's width
_LEFT = 0.085  # left edge of the panels, as a share of the width


def panels(names: Sequence[str], heading: str, *, panel_height: float, right: float) -> tuple[Figure, list[Axes]]:
    """Return a figure with a heading and one panel per split, one below the other.

    Parameters
    ----------
    names
        Splits of `PANELS`, from top to bottom.
    heading
        What the vertical axis shows, written above the first panel.
    panel_height
        Height of a panel in inches.
    right
        Right edge of the panels as a share of the width; names of lines are written to the right of it.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    above, below, line = 0.42, 0.62, 0.27
    step = panel_height + above
    height = line + len(names) * step + below
    figure = Figure(figsize=(_WIDTH, height))
    figure.text(0.0, 1 - 0.03 / height, heading, ha="left", va="top", alpha=0.8)
    axes: list[Axes] = []
    for index, name in enumerate(names):
        base = below + (len(names) - 1 - index) * step
        shared = axes[0] if axes else None
        ax = figure.add_axes((_LEFT, base / height, right - _LEFT, panel_height / height), sharex=shared)
        figure.text(0.0, (base + panel_height + 0.1) / height, PANELS[name], ha="left", weight="bold")
        ax.spines[["top", "right", "left"]].set_visible(False)
        ax.tick_params(length=0, pad=5, labelbottom=index == len(names) - 1)
        ax.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        ax.grid(axis="y", color=INK, alpha=0.13, linewidth=0.7)
        ax.set_axisbelow(True)
        axes.append(ax)
    return figure, axes


def name_lines(ax: Axes, names: Mapping[str, float], *, ours: Collection[str]) -> None:
    """Write the names of lines to the right of a panel, each as near the end of its line as the others leave room.

    Parameters
    ----------
    ax
        The panel.
    names
        The height of each line's end, by name.
    ours
        The names of fitted models, written bold in the accent colour.
    """
    low, high = ax.get_ylim()
    heights = _spread(list(names.values()), gap=0.125 * (high - low), low=low, high=high)
    for text, height in zip(names, heights, strict=True):
        ax.annotate(
            text,
            (1.02, height),
            xycoords=("axes fraction", "data"),
            color=ACCENT if text in ours else INK,
            weight="bold" if text in ours else "normal",
            va="center",
            linespacing=1.1,
            annotation_clip=False,
        )


def _spread(heights: Sequence[float], *, gap: float, low: float, high: float) -> list[float]:
    """Move heights apart until neighbours are at least `gap` apart, in their order and within the limits."""
    order = sorted(range(len(heights)), key=lambda index: (heights[index], -index))
    placed = [max(heights[index], low) for index in order]
    for above in range(1, len(placed)):
        placed[above] = max(placed[above], placed[above - 1] + gap)
    limit = high
    for index in reversed(range(len(placed))):
        placed[index] = min(placed[index], limit)
        limit = placed[index] - gap
    moved = [0.0] * len(placed)
    for index, height in zip(order, placed, strict=True):
        moved[index] = height
    return moved


def signed_tick(value: float, _: float) -> str:
    """Write the label of a tick with its sign: ``+5``, ``0``, ``−2.5``."""
    return f"{'+' if value > 0 else MINUS if value < 0 else ''}{abs(value):g}"
