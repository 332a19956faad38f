"""The figures of the few-shot curve."""

from __future__ import annotations

import pytest

from lorerm.errors import DataError
from lorerm.reporting.shots_figure import shots_curve, shots_people
from lorerm.reporting.svg import to_svg


def texts(figure):
    return [text.get_text() for ax in figure.axes for text in ax.texts]


def test_the_curve_is_the_reports(rich_report):
    figure = shots_curve(rich_report)
    (ax,) = figure.axes
    curve = max(ax.lines, key=lambda line: len(line.get_xdata()))
    points = rich_report["shots"]["points"]
    assert list(curve.get_xdata()) == [point["shots"] for point in points]
    assert list(curve.get_ydata()) == pytest.approx([100 * point["mean"] for point in points])
    assert "clear gain from 20 on" in texts(figure)
    assert "50 answers 70.2" in ax.get_label()


def test_without_a_clear_gain_nothing_is_marked(rich_report):
    rich_report["shots"]["clear_from"] = None
    assert not any("clear" in text for text in texts(shots_curve(rich_report)))


def test_one_user_has_no_band(rich_report):
    rich_report["shots"]["clear_from"] = None
    assert len(shots_curve(rich_report).axes[0].collections) == 1
    for point in rich_report["shots"]["points"]:
        point["ci95"] = None
    assert len(shots_curve(rich_report).axes[0].collections) == 0
    assert to_svg(shots_curve(rich_report))


def test_a_persons_curve_ends_where_their_answers_do(rich_report):
    figure = shots_people(rich_report)
    assert [len(ax.lines[1].get_xdata()) for ax in figure.axes] == [7, 6, 7]
    assert figure.axes[0].get_title(loc="left") == "a-person-….org"
    assert "a-person-with-a-long-name" in figure.axes[0].get_label()


def test_without_a_curve_there_is_no_figure(seen_only_report, rich_report):
    for draw in (shots_curve, shots_people):
        with pytest.raises(DataError, match="lorerm shots"):
            draw(seen_only_report)
    rich_report["shots"]["examples"] = []
    with pytest.raises(DataError):
        shots_people(rich_report)
