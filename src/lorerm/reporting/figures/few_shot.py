"""Two figures of the few-shot curve: the mean over all unseen users, and the curves of a few single users."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lorerm.errors import DataError
from lorerm.evaluation.report import FewShotCurve, FewShotUser, Report
from lorerm.reporting.figures.panels import PANELS, name_lines, new_figure, panels, with_grid
from lorerm.reporting.figures.svg import ACCENT, INK, PAPER, drawing_style
from lorerm.reporting.phrases import count, percent, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 3  # panels side by side in the figure of single users
_PERSONAL, _POPULATION = "personal weights", "population model"


@drawing_style()
def shots_curve(report: Report) -> Figure:
    """Draw the accuracy of the unseen users, with its 95% interval, by number of few-shot comparisons.

    Raises `DataError` if the report has no few-shot curve.
    """
    curve = _curve_of(report)
    numbers = [point.n_shots for point in curve.points]
    means = [100 * point.accuracy.mean for point in curve.points]
    bounds = [ci95 for point in curve.points if (ci95 := point.accuracy.ci95) is not None]
    title = "Accuracy for unseen users by the number of their few-shot comparisons"
    heading = "Correctly predicted comparisons, per cent"
    figure, (ax,) = panels("shots-curve", title, ["test_unseen"], heading, panel_height=2.2, right=0.70)
    if len(bounds) == len(numbers):
        low, high = ([100 * ci95[end] for ci95 in bounds] for end in (0, 1))
        ax.fill_between(numbers, low, high, color=ACCENT, alpha=0.13, linewidth=0)
    ax.axhline(means[0], color=INK, linewidth=1.2, linestyle=(0, (4, 2)), alpha=0.8)
    ax.plot(numbers, means, color=ACCENT, linewidth=1.8, marker="o", markersize=5)
    ax.plot(numbers[:1], means[:1], color=INK, marker="s", markersize=5.5, markerfacecolor=PAPER)
    if curve.clear_from is not None:
        _mark_clear_gain(ax, curve.clear_from, means[numbers.index(curve.clear_from)])
    name_lines(ax, {_PERSONAL: means[-1], _POPULATION: means[0]}, ours=(_PERSONAL,))
    ax.set_xlim(numbers[0] - 0.02 * numbers[-1], numbers[-1] * 1.02 + 1e-9)
    ax.set_xlabel("Few-shot comparisons of each user", loc="left")
    described = ", ".join(f"{point.n_shots}: {percent(point.accuracy.mean)}" for point in curve.points)
    ax.set_label(f"{PANELS['test_unseen']}, accuracy in per cent by number of comparisons: {described}.")
    return figure


def _mark_clear_gain(ax: Axes, n_shots: int, mean: float) -> None:
    """Mark the number of comparisons from which on the 95% interval of the gain is above 0."""
    bottom = ax.get_ylim()[0]
    ax.vlines(n_shots, bottom, mean, color=ACCENT, linewidth=1, linestyle=(0, (1, 2)))
    ax.plot([n_shots], [mean], color=ACCENT, marker="o", markersize=9, markerfacecolor=PAPER, markeredgewidth=2)
    ax.annotate(f"clear gain from {n_shots} on", (n_shots, bottom), (5, 6), textcoords="offset points", color=ACCENT)
    ax.set_ylim(bottom=bottom)


@drawing_style()
def shots_people(report: Report) -> Figure:
    """Draw the few-shot curves of a few users, from the largest loss to the largest gain.

    Raises `DataError` if the report has no few-shot curve, or if that has no curves of single users.
    """
    curve = _curve_of(report)
    users, numbers = curve.examples, [point.n_shots for point in curve.points]
    if not users:
        raise DataError(
            "the few-shot curve has no curves of single users", "measure it with unseen users who have comparisons"
        )
    rows = -(-len(users) // _COLUMNS)
    height = 0.36 + 1.35 * rows + 0.42
    title = f"Few-shot curves of {count(len(users), 'single user')}"
    figure = new_figure("shots-people", title, height, "Correctly predicted comparisons of one user, per cent")
    values = [100 * value for user in users for value in user.accuracy]
    limits = (min(values) - 4, max(values) + 4)
    for index, user in enumerate(users):
        row, column = divmod(index, _COLUMNS)
        bottom = height - 0.36 - 1.35 * row - 1.22
        ax = figure.add_axes((0.075 + 0.32 * column, bottom / height, 0.26, 0.86 / height))
        _draw_user(ax, user, numbers)
        ax.set_ylim(*limits)
        is_lowest = row == rows - 1 or index + _COLUMNS >= len(users)
        ax.tick_params(length=0, labelleft=column == 0, labelbottom=is_lowest)
        ax.set_title(shortened(user.user_id, 14), loc="left", fontsize=10, pad=5)
    figure.text(0.075, 0.02, "Few-shot comparisons of that user", va="bottom")
    return figure


def _draw_user(ax: Axes, user: FewShotUser, numbers: list[int]) -> None:
    # A user's curve ends at the number of their comparisons.
    n = max(2, sum(number <= user.n_fitted for number in numbers))
    curve = [100 * value for value in user.accuracy][:n]
    with_grid(ax)
    ax.axhline(curve[0], color=INK, linewidth=1, linestyle=(0, (4, 2)), alpha=0.7)
    ax.plot(numbers[:n], curve, color=ACCENT, linewidth=1.8)
    ax.plot([numbers[n - 1]], [curve[-1]], color=ACCENT, marker="o", markersize=4.5)
    ax.set_xlim(0, numbers[-1] * 1.05)
    ax.set_xticks([0, numbers[-1]])
    ax.locator_params(axis="y", nbins=4)
    ax.set_label(f"{user.user_id}: {curve[0]:.0f} per cent without comparisons, {curve[-1]:.0f} with {user.n_fitted}.")


def _curve_of(report: Report) -> FewShotCurve:
    if report.few_shot is None:
        raise DataError("the report has no few-shot curve", "run `lorerm shots` on the run folder")
    return report.few_shot
