"""The figure of who gains."""

from __future__ import annotations

import pytest

from lorerm.errors import DataError
from lorerm.reporting.gain_figure import gain_distribution


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_shares_and_mean_are_written(rich_report):
    rich_report["gains"].update(test_unseen=[-0.1, 0.0, 0.0, 0.2, 0.4], test_seen=[])
    (ax,) = gain_distribution(rich_report).axes
    assert texts(ax) == ["mean +10.0", "20% lose", "40% gain", "40% same"]


def test_a_panel_for_each_cell_with_users(rich_report, seen_only_report):
    assert len(gain_distribution(rich_report).axes) == 2
    assert len(gain_distribution(seen_only_report).axes) == 1


def test_areas_are_as_wide_as_the_shares(rich_report):
    """The gaining area begins where losing and unchanged users end, whatever their order in the report."""
    rich_report["gains"].update(test_unseen=[0.4, -0.1, 0.2, 0.0], test_seen=[])
    (ax,) = gain_distribution(rich_report).axes
    vertices = ax.collections[1].get_paths()[0].vertices
    assert min(x for x, y in vertices if y > 1e-9) == pytest.approx(50)
    assert max(y for _, y in vertices) == pytest.approx(40)


def test_a_single_user(rich_report):
    rich_report["gains"].update(test_unseen=[0.25], test_seen=[])
    assert "100% gain" in texts(gain_distribution(rich_report).axes[0])


def test_nobody_moves(rich_report):
    rich_report["gains"].update(test_unseen=[0.0] * 3, test_seen=[])
    assert "100% same" in texts(gain_distribution(rich_report).axes[0])


def test_words_for_those_who_do_not_see_it(rich_report):
    figure = gain_distribution(rich_report)
    assert "rank 4" in figure.get_label()
    assert "of 90 users gain" in figure.axes[0].get_label()


def test_no_gains_no_figure(rich_report):
    with pytest.raises(DataError, match="rank above 1"):
        gain_distribution(rich_report | {"gains": None})
