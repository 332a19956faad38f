"""The figures of the few-shot curve: everybody's, with its band, and a few people's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lorerm.errors import DataError
from lorerm.reporting.panels import PANELS, name_lines, panels
from lorerm.reporting.phrases import count, percent, shortened
from lorerm.reporting.reading import Record
from lorerm.reporting.svg import ACCENT, INK, PAPER, drawing_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 3


def shots_curve(report: Record) -> Figure:
    """Draw the accuracy of people never seen against the number of their answers, with its 95% band.

    Parameters
    ----------
    report
        The report, as ``docs/report.md`` describes it.

    Raises
    ------
    DataError
        The report has no few-shot curve.
    """
    shots = _shots_of(report)
    points = shots["points"]
    counts = [point["shots"] for point in points]
    means = [100 * point["mean"] for point in points]
    with drawing_style():
        figure, (ax,) = panels(["test_unseen"], "Correctly predicted choices, per cent", panel_height=2.2, right=0.74)
        figure.set_gid("shots-curve")
        figure.set_label("Accuracy for people never seen by the number of their answers")
        if all(point["ci95"] for point in points):
            low, high = ([100 * point["ci95"][end] for point in points] for end in (0, 1))
            ax.fill_between(counts, low, high, color=ACCENT, alpha=0.13, linewidth=0)
        ax.axhline(means[0], color=INK, linewidth=1.2, linestyle=(0, (4, 2)), alpha=0.8)
        ax.plot(counts, means, color=ACCENT, linewidth=1.8, marker="o", markersize=5)
        ax.plot(counts[:1], means[:1], color=INK, marker="s", markersize=5.5, markerfacecolor=PAPER)
        clear = shots["clear_from"]
        if clear is not None:
            at = counts.index(clear)
            bottom = ax.get_ylim()[0]
            ax.vlines(clear, bottom, means[at], color=ACCENT, linewidth=1, linestyle=(0, (1, 2)))
            ax.plot(
                [clear], [means[at]], color=ACCENT, marker="o", markersize=9, markerfacecolor=PAPER, markeredgewidth=2
            )
            ax.annotate(
                f"clear gain from {clear} on", (clear, bottom), (5, 6), textcoords="offset points", color=ACCENT
            )
            ax.set_ylim(bottom=bottom)
        name_lines(ax, {"own weights": means[-1], "shared direction": means[0]}, ours=("own weights",))
        ax.set_xlim(counts[0] - 0.02 * counts[-1], counts[-1] * 1.02 + 1e-9)
        ax.set_xlabel("Answers of each person", loc="left")
        pairs = ", ".join(f"{count(point['shots'], 'answer')} {percent(point['mean'])}" for point in points)
        ax.set_label(f"{PANELS['test_unseen']}, accuracy in per cent: {pairs}.")
    return figure


def shots_people(report: Record) -> Figure:
    """Draw a few people's own curves, from the one who loses most to the one who gains most.

    Parameters
    ----------
    report
        The report, as ``docs/report.md`` describes it.

    Raises
    ------
    DataError
        The report has no few-shot curve, or no people in it.
    """
    from matplotlib.figure import Figure

    shots = _shots_of(report)
    people, counts = shots["examples"], [point["shots"] for point in shots["points"]]
    if not people:
        raise DataError("the few-shot curve has no people of its own", "sweep it with unseen users who have answers")
    rows = -(-len(people) // _COLUMNS)
    with drawing_style():
        height = 0.36 + 1.35 * rows + 0.42
        figure = Figure(figsize=(5.8, height))
        figure.set_gid("shots-people")
        figure.set_label("Six people's own curves" if len(people) == 6 else "Some people's own curves")
        figure.text(0.0, 1 - 0.03 / height, "Correctly predicted choices of one person, per cent", va="top", alpha=0.8)
        values = [100 * value for person in people for value in person["accuracy"]]
        limits = (min(values) - 4, max(values) + 4)
        for place, person in enumerate(people):
            row, column = divmod(place, _COLUMNS)
            bottom = height - 0.36 - 1.35 * row - 1.22
            ax = figure.add_axes((0.075 + 0.32 * column, bottom / height, 0.26, 0.86 / height))
            _draw_person(ax, person, counts)
            ax.set_ylim(*limits)
            ax.tick_params(
                length=0, labelleft=column == 0, labelbottom=row == rows - 1 or place + _COLUMNS >= len(people)
            )
            ax.set_title(shortened(str(person["user_id"]), 14), loc="left", fontsize=10, pad=5)
        figure.text(0.075, 0.02, "Answers of that person", va="bottom")
    return figure


def _draw_person(ax: Axes, person: Record, counts: list[int]) -> None:
    # A person's curve ends where their answers do.
    n = max(2, sum(count <= person["n_answers"] for count in counts))
    curve = [100 * value for value in person["accuracy"]][:n]
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.grid(axis="y", color=INK, alpha=0.13, linewidth=0.7)
    ax.axhline(curve[0], color=INK, linewidth=1, linestyle=(0, (4, 2)), alpha=0.7)
    ax.plot(counts[:n], curve, color=ACCENT, linewidth=1.8)
    ax.plot([counts[n - 1]], [curve[-1]], color=ACCENT, marker="o", markersize=4.5)
    ax.set_xlim(0, counts[-1] * 1.05)
    ax.set_xticks([0, counts[-1]])
    ax.locator_params(axis="y", nbins=4)
    ax.set_label(
        f"{person['user_id']}: {curve[0]:.0f} per cent without answers, {curve[-1]:.0f} with {person['n_answers']}."
    )


def _shots_of(report: Record) -> Record:
    shots: Record | None = report.get("shots")
    if not shots:
        raise DataError("the report has no few-shot curve", "run `lorerm shots` on the run")
    return shots
