"""The frame of figures: one panel under the other, unseen users before seen ones; names beside lines, gains on axes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from lorerm.reporting.phrases import MINUS
from lorerm.reporting.svg import ACCENT, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = {"test_unseen": "People never seen", "test_seen": "People seen in training"}
"""The cells that have a panel, in order, with its title."""

_WIDTH = 5.8  # inches; narrow, so that the text is still readable at a phone's width
_LEFT = 0.085  # of the width


def panels(names: Sequence[str], heading: str, *, panel_height: float, right: float) -> tuple[Figure, list[Axes]]:
    """Return a figure with one panel under the other, each with its title, under a heading.

    `panel_height` is in inches; `right` is where panels end, as a share of the width: names stand to the right of it.
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
    """Write the names of lines to the right of the panel, each at the height of its line's end where there is room.

    Those of `ours`, the fitted models, stand out.
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
            annotation_clip=False,
        )


def _spread(heights: Sequence[float], *, gap: float, low: float, high: float) -> list[float]:
    """Move heights apart until neighbours are at least `gap` apart, in their order and within the limits."""
    order = sorted(range(len(heights)), key=lambda index: (heights[index], -index))
    placed = [max(heights[index], low) for index in order]
    for above in range(1, len(placed)):
        placed[above] = max(placed[above], placed[above - 1] + gap)
    ceiling = high
    for index in reversed(range(len(placed))):
        placed[index] = min(placed[index], ceiling)
        ceiling = placed[index] - gap
    moved = [0.0] * len(placed)
    for index, height in zip(order, placed, strict=True):
        moved[index] = height
    return moved


def signed_tick(value: float, _: float) -> str:
    """Write a gain on an axis, in points: ``+5``, ``0``, ``−2.5``."""
    return f"{'+' if value > 0 else MINUS if value < 0 else ''}{abs(value):g}"
