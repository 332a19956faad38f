"""The figure of who gains: every user a slice, from the largest loss to the largest gain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lorerm.errors import DataError
from lorerm.reporting import content, reading
from lorerm.reporting.panels import PANELS, panels, signed_tick
from lorerm.reporting.phrases import percent, points
from lorerm.reporting.reading import Record
from lorerm.reporting.svg import ACCENT, INK, drawing_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def gain_distribution(report: Record) -> Figure:
    """Draw what every user gains over the shared direction, one panel each for unseen and seen users.

    Users stand side by side, from the largest loss to the largest gain, each equally wide: what one reads along the
    axis is the share of users.

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
        The report has no per-user gains, because no rank above 1 was evaluated.
    """
    gains = reading.gains_of(report)
    if not gains:
        raise DataError("the report has no gains of single users", "evaluate a rank above 1 to have them")
    with drawing_style():
        figure, axes = panels(
            list(gains), "Gain over the shared direction, percentage points", panel_height=1.5, right=0.76
        )
        figure.set_gid("gain-distribution")
        figure.set_label(f"Gain of each user from personal weights at rank {report['gains']['rank']}")
        ends = [100 * end for values in gains.values() for end in (min(values), max(values))]
        reach = max(1.0, *map(abs, ends))
        for (name, values), ax in zip(gains.items(), axes, strict=True):
            ax.set_ylim(min(*ends, -0.4 * reach), max(*ends, 0.4 * reach))  # at least the room that the words need
            _draw_gains(ax, values)
            ax.set_label(_describe_gains(values, name))
        axes[-1].set_xlabel("Users, from the largest loss to the largest gain, per cent", loc="left")
    return figure


def _draw_gains(ax: Axes, gains: Sequence[float]) -> None:
    """Draw one panel of gains: users in order, the shares that lose and gain, the mean."""
    edges: list[float] = [0.0]
    values: list[float] = []
    for gain in sorted(round(gain, 9) for gain in gains):
        if values and values[-1] == 100 * gain:  # one step for users of equal gain
            edges[-1] += 100 / len(gains)
        else:
            values.append(100 * gain)
            edges.append(edges[-1] + 100 / len(gains))
    steps = [*values, values[-1]]
    ax.fill_between(edges, [min(step, 0) for step in steps], step="post", color=INK, alpha=0.4, linewidth=0)
    ax.fill_between(edges, [max(step, 0) for step in steps], step="post", color=ACCENT, alpha=0.9, linewidth=0)
    ax.axhline(0, color=INK, linewidth=1)
    ax.spines["bottom"].set_visible(False)
    ax.set_xlim(0, 100)
    ax.set_xticks(range(0, 101, 25))
    ax.yaxis.set_major_formatter(signed_tick)
    mean = sum(gains) / len(gains)
    ax.plot([101.6], [100 * mean], marker="<", color=ACCENT, markersize=6, clip_on=False)
    ax.annotate(
        f"mean {points(mean)}", (104, 100 * mean), color=ACCENT, weight="bold", va="center", annotation_clip=False
    )
    _name_shares(ax, *content.gain_shares(gains))


def _name_shares(ax: Axes, lose: float, same: float, win: float) -> None:
    """Write the shares where the drawing leaves room: above the losses, below the gains, in the middle between."""
    ax.annotate(f"{lose:.0%} lose", (0, 0), (2, 7), textcoords="offset points", ha="left", va="bottom")
    ax.annotate(f"{win:.0%} gain", (100, 0), (-2, -7), textcoords="offset points", ha="right", va="top")
    if same >= 0.24:
        centre = 100 * (lose + same / 2)
        offset, anchor = ((0, 7), "bottom") if centre > 50 else ((0, -7), "top")
        ax.annotate(f"{same:.0%} same", (centre, 0), offset, textcoords="offset points", ha="center", va=anchor)


def _describe_gains(values: Sequence[float], name: str) -> str:
    """Say in words what a panel of gains shows."""
    lose, same, win = content.gain_shares(values)
    return (
        f"{PANELS[name]}: mean gain {points(sum(values) / len(values))} points; "
        f"{percent(win)}% of {len(values)} users gain, {percent(same)}% stay the same, {percent(lose)}% lose."
    )
