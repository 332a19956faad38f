"""The figures of the few-shot curve."""

from __future__ import annotations

import pytest

from lorerm.errors import DataError
from lorerm.evaluation.report import Report
from lorerm.reporting.figures import few_shot
from lorerm.reporting.figures.svg import to_svg
from refusals import refused


def shots_curve(content):
    return few_shot.shots_curve(Report.from_dict(content))


def shots_people(content):
    return few_shot.shots_people(Report.from_dict(content))


def texts(figure):
    return [text.get_text() for ax in figure.axes for text in ax.texts]


def test_the_curve_is_the_reports(rich):
    figure = shots_curve(rich)
    (ax,) = figure.axes
    curve = max(ax.lines, key=lambda line: len(line.get_xdata()))
    points = rich["shots"]["points"]
    assert list(curve.get_xdata()) == [point["shots"] for point in points]
    assert list(curve.get_ydata()) == pytest.approx([100 * point["mean"] for point in points])
    assert "clear gain from 20 on" in texts(figure)
    assert "50: 70.2" in ax.get_label()


def test_without_a_clear_gain_nothing_is_marked(rich):
    rich["shots"]["clear_from"] = None
    assert not any("clear" in text for text in texts(shots_curve(rich)))


def test_one_user_has_no_band(rich):
    rich["shots"]["clear_from"] = None
    assert len(shots_curve(rich).axes[0].collections) == 1
    for point in rich["shots"]["points"]:
        point["ci95"] = None
    assert len(shots_curve(rich).axes[0].collections) == 0
    assert to_svg(shots_curve(rich))


def test_a_users_curve_ends_at_the_number_of_their_comparisons(rich):
    figure = shots_people(rich)
    assert [len(ax.lines[1].get_xdata()) for ax in figure.axes] == [7, 6, 7]
    assert figure.axes[0].get_title(loc="left") == "a-person-….org"
    assert "a-person-with-a-long-name" in figure.axes[0].get_label()


def test_without_a_curve_there_is_no_figure(seen_only, rich):
    for draw in (shots_curve, shots_people):
        with refused(DataError):
            draw(seen_only)
    rich["shots"]["examples"] = []
    with refused(DataError):
        shots_people(rich)
