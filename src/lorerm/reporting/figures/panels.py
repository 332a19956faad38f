"""Layout of the figures: stacked panels with titles, names beside lines, and signed numbers on an axis."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from lorerm.reporting.figures.svg import ACCENT, INK
from lorerm.reporting.phrases import MINUS, USERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = {split: users.capitalize() for split, users in USERS.items()}
"""Titles of the panels, by split, from top to bottom."""

_WIDTH = 5.8  # inches; narrow, so that the text is readable at a phone's width
_LEFT = 0.085  # left edge of the panels, as a share of the width


def new_figure(name: str, title: str, height: float, heading: str = "") -> Figure:
    """Return a figure without axes, `height` inches high; `name` is its gid, `heading` a text at its top."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height))
    figure.set_gid(name)
    figure.set_label(title)
    if heading:
        figure.text(0.0, 1 - 0.03 / height, heading, ha="left", va="top", alpha=0.8)
    return figure


def panels(
    name: str, title: str, splits: Sequence[str], heading: str, *, panel_height: float, right: float
) -> tuple[Figure, list[Axes]]:
    """Return a figure with one panel per split, one below the other.

    Parameters
    ----------
    name, title
        Name and title of the figure.
    splits
        Splits of `PANELS`, from top to bottom.
    heading
        Label of the vertical axis, written above the first panel.
    panel_height
        Height of a panel in inches.
    right
        Right edge of the panels as a share of the width; names of lines are written to the right of it.
    """
    from matplotlib.ticker import MaxNLocator

    above, below, line = 0.42, 0.62, 0.27
    step = panel_height + above
    height = line + len(splits) * step + below
    figure = new_figure(name, title, height, heading)
    axes: list[Axes] = []
    for index, split in enumerate(splits):
        base = below + (len(splits) - 1 - index) * step
        shared = axes[0] if axes else None
        ax = figure.add_axes((_LEFT, base / height, right - _LEFT, panel_height / height), sharex=shared)
        figure.text(0.0, (base + panel_height + 0.1) / height, PANELS[split], ha="left", weight="bold")
        with_grid(ax)
        ax.tick_params(length=0, pad=5, labelbottom=index == len(splits) - 1)
        ax.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        ax.set_axisbelow(True)
        axes.append(ax)
    return figure, axes


def with_grid(ax: Axes) -> None:
    """Remove the frame except for the horizontal axis, and draw horizontal grid lines."""
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.grid(axis="y", color=INK, alpha=0.13, linewidth=0.7)


def name_lines(ax: Axes, names: Mapping[str, float], *, ours: Collection[str]) -> None:
    """Write the names of lines to the right of a panel, each near the end of its line and without overlaps.

    `names` maps each name to the height of the line's right end. Names in `ours` (fitted models) are bold and coloured.
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
    """Move heights until neighbours are at least `gap` apart; keep their order, and the limits if there is room."""
    order = sorted(range(len(heights)), key=lambda index: (heights[index], -index))
    # Push heights up where they are too close, then push them down from the upper limit.
    placed = [max(heights[index], low) for index in order]
    for above in range(1, len(placed)):
        placed[above] = max(placed[above], placed[above - 1] + gap)
    limit = high
    for index in reversed(range(len(placed))):
        placed[index] = min(placed[index], limit)
        limit = placed[index] - gap
    moved = dict(zip(order, placed, strict=True))
    return [moved[index] for index in range(len(heights))]


def signed_tick(value: float, _: float) -> str:
    """Write the label of a tick with its sign: ``+5``, ``0``, ``−2.5``."""
    return f"{'+' if value > 0 else MINUS if value < 0 else ''}{abs(value):g}"
