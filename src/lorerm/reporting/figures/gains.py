"""Three figures of the users' gains: distribution, gains by number of comparisons, and a map of users by weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lorerm.errors import DataError
from lorerm.evaluation.report import GainDistribution, Gains, Report, UserGain
from lorerm.reporting.figures.panels import PANELS, new_figure, panels, signed_tick
from lorerm.reporting.figures.svg import ACCENT, INK, PAPER, drawing_style
from lorerm.reporting.phrases import count, percent, points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HEADING = "Gain over one ranking for everybody, percentage points"
# Maximum number of users drawn in a panel: more dots would hide each other.
_MAX_DOTS = 400
_GROUPS = 5  # number of groups of users whose mean gains are joined by a line


@drawing_style()
def gain_distribution(report: Report) -> Figure:
    """Draw each user's gain over the population model (one ranking for everybody), in panels for unseen and seen users.

    Users are drawn side by side with equal widths, from the largest loss to the largest gain, so that a length along
    the axis is a share of users. Raises `DataError` if the report has no gains because no rank above 1 was evaluated.
    """
    gains = report.gains
    if gains is None or not gains.by_split:
        raise DataError("the report has no gains of single users", "evaluate a rank above 1")
    title = f"Gain of each user from personal weights at rank {gains.rank}"
    figure, axes = panels("gain-distribution", title, list(gains.by_split), _HEADING, panel_height=1.5, right=0.76)
    ends = [100 * end for values in gains.by_split.values() for end in (min(values), max(values))]
    reach = max(1.0, *map(abs, ends))
    for (name, values), ax in zip(gains.by_split.items(), axes, strict=True):
        ax.set_ylim(min(*ends, -0.4 * reach), max(*ends, 0.4 * reach))  # room for the labels
        found = gains.distribution(name)
        _draw_distribution(ax, values, found)
        ax.set_label(
            f"{PANELS[name]}: mean gain {points(found.mean)} points; {percent(found.gain)}% of {found.n_users} users "
            f"gain, {percent(found.same)}% have the same accuracy, {percent(found.lose)}% lose."
        )
    axes[-1].set_xlabel("Users, from the largest loss to the largest gain, per cent", loc="left")
    return figure


def _draw_distribution(ax: Axes, gains: Sequence[float], found: GainDistribution) -> None:
    """Draw one panel: users by gain, the shares of users who lose and who gain, and the mean."""
    edges: list[float] = [0.0]
    values: list[float] = []
    for gain in sorted(round(gain, 9) for gain in gains):
        if values and values[-1] == 100 * gain:  # one step for all users with equal gains
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
    mean = 100 * found.mean
    ax.plot([101.6], [mean], marker="<", color=ACCENT, markersize=6, clip_on=False)
    ax.annotate(
        f"mean {points(found.mean)}", (104, mean), color=ACCENT, weight="bold", va="center", annotation_clip=False
    )
    _write_shares(ax, found)


def _write_shares(ax: Axes, found: GainDistribution) -> None:
    """Write the shares of users in the free space: above the losses, below the gains, and between both."""
    ax.annotate(f"{found.lose:.0%} lose", (0, 0), (2, 7), textcoords="offset points", ha="left", va="bottom")
    ax.annotate(f"{found.gain:.0%} gain", (100, 0), (-2, -7), textcoords="offset points", ha="right", va="top")
    if found.same >= 0.24:
        centre = 100 * (found.lose + found.same / 2)
        offset, anchor = ((0, 7), "bottom") if centre > 50 else ((0, -7), "top")
        ax.annotate(f"{found.same:.0%} same", (centre, 0), offset, textcoords="offset points", ha="center", va=anchor)


@drawing_style()
def gain_by_answers(report: Report) -> Figure:
    """Draw each user's gain over the population model, with its 95% interval, by the number of their comparisons.

    These are the comparisons to which the user's weights were fitted. The line is the mean over groups of users with
    similar numbers. Raises `DataError` if the report lists no users.
    """
    gains = report.gains
    if gains is None or not gains.users:
        raise DataError("the report has no gains with user IDs", "evaluate a rank above 1 with this version of lorerm")
    by_split = gains.users_by_split
    title = "Gain of each user against the number of their comparisons"
    figure, axes = panels("gain-by-answers", title, list(by_split), _HEADING, panel_height=2.1, right=0.97)
    reach = max(*(100 * abs(user.gain) for user in gains.users), 1.0) * 1.15
    for (name, users), ax in zip(by_split.items(), axes, strict=True):
        _draw_users(ax, users)
        _draw_group_means(ax, gains, name)
        fitted = [user.n_fitted for user in users]
        ax.set_label(
            f"{PANELS[name]}: {count(len(users), 'user')} with {min(fitted)} to {max(fitted)} comparisons; "
            f"mean gain {points(gains.distribution(name).mean)} points."
        )
        ax.set_ylim(-reach, reach)
        ax.yaxis.set_major_formatter(signed_tick)
    axes[-1].set_xlabel("Comparisons that the user's weights were fitted to", loc="left")
    return figure


def _draw_users(ax: Axes, users: Sequence[UserGain]) -> None:
    drawn = _thinned(users, _MAX_DOTS)
    for gains, colour in ((True, ACCENT), (False, INK)):
        some = [user for user in drawn if user.gains == gains]
        if some:
            x = [user.n_fitted for user in some]
            low, high = ([100 * user.ci95[end] for user in some] for end in (0, 1))
            ax.vlines(x, low, high, color=colour, linewidth=0.7, alpha=0.13)
            ax.scatter(x, [100 * user.gain for user in some], s=11, color=colour, alpha=0.55, linewidths=0)
    ax.axhline(0, color=INK, linewidth=1)


def _draw_group_means(ax: Axes, gains: Gains, name: str) -> None:
    found = gains.by_n_fitted(name, _GROUPS)
    if len(found) > 1:
        x, y = [n_fitted for n_fitted, _ in found], [100 * gain for _, gain in found]
        ax.plot(x, y, color=PAPER, linewidth=4.5)
        ax.plot(x, y, color=ACCENT, linewidth=2, marker="o", markersize=5.5)


def _thinned(users: Sequence[UserGain], most: int) -> Sequence[UserGain]:
    """Return at most `most` users, evenly spaced in the sequence."""
    return users if len(users) <= most else [users[k * len(users) // most] for k in range(most)]


@drawing_style()
def weights_map(report: Report) -> Figure:
    """Draw the users at their coordinates on the two leading personal axes: filled dots gain, open dots lose.

    Raises `DataError` if the report has no coordinates because there are fewer than two personal axes.
    """
    users = [] if report.gains is None else [user for user in report.gains.users if user.position is not None]
    if not users:
        raise DataError(
            "the report has no coordinates of users on two personal axes",
            "evaluate a rank above 2 with this version of lorerm",
        )
    figure = new_figure("weights-map", "Users by their weights on the two leading personal axes", height=4.5)
    ax = figure.add_axes((0.06, 0.115, 0.9, 0.8))
    ax.spines[["top", "right", "left", "bottom"]].set_visible(False)
    ax.tick_params(length=0, labelleft=False, labelbottom=False)
    ax.axhline(0, color=INK, linewidth=0.8, alpha=0.35)
    ax.axvline(0, color=INK, linewidth=0.8, alpha=0.35)
    _draw_positions(ax, _thinned(users, 2 * _MAX_DOTS))
    figure.text(0.0, 0.993, "●", va="top", color=ACCENT)
    figure.text(0.028, 0.993, "gains   ○ loses; larger dots gain or lose more", va="top", alpha=0.8)
    ax.set_xlabel("personal axis 1 →", loc="right")
    ax.set_ylabel("personal axis 2 →", loc="top")
    ax.set_label(
        f"{count(len(users), 'user')} by the two axes along which their rewards differ most; "
        f"{sum(user.loses for user in users)} of them lose by their own weights."
    )
    return figure


def _draw_positions(ax: Axes, users: Sequence[UserGain]) -> None:
    largest = max(*(abs(user.gain) for user in users), 0.01)
    same = [user for user in users if not (user.gains or user.loses)]
    loss, gain = [user for user in users if user.loses], [user for user in users if user.gains]
    for some, style in (
        (same, {"color": INK, "alpha": 0.45, "linewidths": 0}),
        (loss, {"facecolors": PAPER, "edgecolors": INK, "linewidths": 1.1, "alpha": 0.85}),
        (gain, {"color": ACCENT, "alpha": 0.7, "linewidths": 0}),
    ):
        x, y = ([user.position[axis] for user in some if user.position] for axis in (0, 1))
        ax.scatter(x, y, s=[10 + 130 * abs(user.gain) / largest for user in some], **style)  # type: ignore[arg-type]
    reach = 1.08 * max(*(abs(value) for user in users for value in user.position or ()), 1e-9)
    ax.set_xlim(-reach, reach)
    ax.set_ylim(-reach, reach)
