"""The figures of single people."""

from __future__ import annotations

import pytest

from lorerm.errors import DataError
from lorerm.reporting.people_figures import gain_by_answers, weights_map
from lorerm.reporting.reading import people_of


def test_everybody_is_a_dot_at_their_answers(rich_report):
    figure = gain_by_answers(rich_report)
    assert len(figure.axes) == 2
    for ax, people in zip(figure.axes, people_of(rich_report).values(), strict=True):
        places = {tuple(p) for found in ax.collections for p in found.get_offsets().tolist()}
        for row in people:
            assert any(x == row["n_answers"] and y == pytest.approx(100 * row["gain"]) for x, y in places)


def test_the_line_is_the_mean_of_people_with_as_many_answers(rich_report):
    ax, people = gain_by_answers(rich_report).axes[0], people_of(rich_report)["test_unseen"]
    line = ax.lines[-1]
    weights = [len(people) / len(line.get_xdata())] * len(line.get_xdata())
    mean = sum(w * y for w, y in zip(weights, line.get_ydata(), strict=True)) / len(people)
    assert mean == pytest.approx(100 * sum(row["gain"] for row in people) / len(people))


def test_very_many_people_are_drawn_in_part(rich_report):
    rich_report["gains"]["users"] *= 20
    for ax in gain_by_answers(rich_report).axes:
        assert sum(len(found.get_offsets()) for found in ax.collections) < 420
    assert sum(len(found.get_offsets()) for found in weights_map(rich_report).axes[0].collections) <= 800


def test_the_map_tells_gain_from_loss_by_more_than_colour(rich_report):
    people = rich_report["gains"]["users"]
    same, loss, gain = weights_map(rich_report).axes[0].collections
    assert len(same.get_offsets()) + len(loss.get_offsets()) + len(gain.get_offsets()) == len(people)
    assert len(loss.get_offsets()) == sum(row["gain"] < 0 for row in people)
    assert loss.get_facecolors().tolist() != gain.get_facecolors().tolist()
    assert (loss.get_linewidths() > 0).all()


def test_without_people_or_places_there_is_no_figure(seen_only_report, impersonal_report):
    with pytest.raises(DataError):
        gain_by_answers(impersonal_report)
    with pytest.raises(DataError, match="no map"):
        weights_map(seen_only_report)
