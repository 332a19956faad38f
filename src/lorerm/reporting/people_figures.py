"""The figures of single people: gain against the number of answers, and the map of their weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lorerm.errors import DataError
from lorerm.reporting import reading
from lorerm.reporting.panels import PANELS, panels, signed_tick
from lorerm.reporting.phrases import count, points
from lorerm.reporting.reading import Record
from lorerm.reporting.svg import ACCENT, INK, PAPER, drawing_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# More people than this are a black field: as many are drawn, evenly taken.
_DRAWN = 400
_BINS = 5
_SAME = 1e-5


def gain_by_answers(report: Record) -> Figure:
    """Draw every person's gain over the shared direction against their answers, with its 95% interval.

    The line is the mean of people with about as many answers.

    Parameters
    ----------
    report
        The report, as ``docs/report.md`` describes it.

    Raises
    ------
    DataError
        The report does not say who gains.
    """
    people = reading.people_of(report)
    if not people:
        raise DataError("the report does not say who gains", "evaluate a rank above 1 with this version")
    with drawing_style():
        heading = "Gain over the shared direction, percentage points"
        figure, axes = panels(list(people), heading, panel_height=2.1, right=0.97)
        figure.set_gid("gain-by-answers")
        figure.set_label("Gain of each person against the number of their answers")
        for (name, rows), ax in zip(people.items(), axes, strict=True):
            _draw_people(ax, rows)
            answers = [row["n_answers"] for row in rows]
            ax.set_label(
                f"{PANELS[name]}: {count(len(rows), 'person', 'people')}, {min(answers)} to {max(answers)} answers; "
                f"mean gain {points(sum(row['gain'] for row in rows) / len(rows))} points."
            )
        ends = [100 * row["gain"] for rows in people.values() for row in rows]
        reach = max(*map(abs, ends), 1.0) * 1.15
        for ax in axes:
            ax.set_ylim(-reach, reach)
            ax.yaxis.set_major_formatter(signed_tick)
        axes[-1].set_xlabel("Answers that the person's weights were fitted to", loc="left")
    return figure


def _draw_people(ax: Axes, people: Sequence[Record]) -> None:
    drawn = people if len(people) <= _DRAWN else [people[i * len(people) // _DRAWN] for i in range(_DRAWN)]
    for better, colour in ((True, ACCENT), (False, INK)):
        some = [row for row in drawn if (row["gain"] > _SAME) == better]
        if some:
            x, y = [row["n_answers"] for row in some], [100 * row["gain"] for row in some]
            low, high = ([100 * row["ci95"][end] for row in some] for end in (0, 1))
            ax.vlines(x, low, high, color=colour, linewidth=0.7, alpha=0.13)
            ax.scatter(x, y, s=11, color=colour, alpha=0.55, linewidths=0)
    ax.axhline(0, color=INK, linewidth=1)
    centres, means = _in_bins(people)
    if len(centres) > 1:
        ax.plot(centres, means, color=PAPER, linewidth=4.5)
        ax.plot(centres, means, color=ACCENT, linewidth=2, marker="o", markersize=5.5)


def _in_bins(people: Sequence[Record]) -> tuple[list[float], list[float]]:
    """Return mean answers and mean gain of people with about as many answers, in equally large groups."""
    ordered = sorted(people, key=lambda row: int(row["n_answers"]))
    n_bins = min(_BINS, len(ordered) // 4)
    groups = [ordered[k * len(ordered) // n_bins : (k + 1) * len(ordered) // n_bins] for k in range(n_bins)]
    found = {}
    for group in groups:
        centre = sum(row["n_answers"] for row in group) / len(group)
        found[centre] = 100 * sum(row["gain"] for row in group) / len(group)
    return list(found), list(found.values())


def weights_map(report: Record) -> Figure:
    """Draw everybody's place on the two leading personal axes, full where they gain and hollow where they lose.

    Parameters
    ----------
    report
        The report, as ``docs/report.md`` describes it.

    Raises
    ------
    DataError
        The report has no map, since people do not differ along two axes.
    """
    people = [row for rows in reading.people_of(report).values() for row in rows if row.get("place")]
    if not people:
        raise DataError("the report has no map of the weights", "evaluate a rank above 2, or with this version")
    with drawing_style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5.8, 4.5))
        figure.set_gid("weights-map")
        figure.set_label("People by their weights on the two leading personal axes")
        ax = figure.add_axes((0.06, 0.115, 0.9, 0.8))
        ax.spines[["top", "right", "left", "bottom"]].set_visible(False)
        ax.tick_params(length=0, labelleft=False, labelbottom=False)
        ax.axhline(0, color=INK, linewidth=0.8, alpha=0.35)
        ax.axvline(0, color=INK, linewidth=0.8, alpha=0.35)
        drawn = people if len(people) <= 2 * _DRAWN else people[:: -(-len(people) // (2 * _DRAWN))]
        largest = max(*(abs(row["gain"]) for row in drawn), 0.01)
        for kind, style in (
            ("same", {"color": INK, "alpha": 0.45, "linewidths": 0}),
            ("loss", {"facecolors": PAPER, "edgecolors": INK, "linewidths": 1.1, "alpha": 0.85}),
            ("gain", {"color": ACCENT, "alpha": 0.7, "linewidths": 0}),
        ):
            some = [row for row in drawn if _kind(row["gain"]) == kind]
            x, y = [row["place"][0] for row in some], [row["place"][1] for row in some]
            ax.scatter(x, y, s=[10 + 130 * abs(row["gain"]) / largest for row in some], **style)  # type: ignore[arg-type]
        reach = 1.08 * max(*(abs(value) for row in drawn for value in row["place"]), 1e-9)
        ax.set_xlim(-reach, reach)
        ax.set_ylim(-reach, reach)
        figure.text(0.0, 0.993, "●", va="top", color=ACCENT)
        figure.text(0.028, 0.993, "gains   ○ loses, the larger the more", va="top", alpha=0.8)
        ax.set_xlabel("personal axis 1 →", loc="right")
        ax.set_ylabel("personal axis 2 →", loc="top")
        losing = sum(_kind(row["gain"]) == "loss" for row in people)
        ax.set_label(
            f"{count(len(people), 'person', 'people')} by the two axes along which their rewards differ most; "
            f"{losing} of them lose by their own weights."
        )
    return figure


def _kind(gain: float) -> str:
    return "gain" if gain > _SAME else "loss" if gain < -_SAME else "same"
