"""The figures of the gains of single users."""

from __future__ import annotations

import pytest

from lorerm.errors import DataError
from lorerm.evaluation.report import Report
from lorerm.reporting.figures import gains
from refusals import refused


def gain_distribution(content):
    return gains.gain_distribution(Report.from_dict(content))


def gain_by_answers(content):
    return gains.gain_by_answers(Report.from_dict(content))


def weights_map(content):
    return gains.weights_map(Report.from_dict(content))


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_shares_and_mean_are_written(rich):
    rich["gains"].update(test_unseen=[-0.1, 0.0, 0.0, 0.2, 0.4], test_seen=[])
    (ax,) = gain_distribution(rich).axes
    assert texts(ax) == ["mean +10.0", "20% lose", "40% gain", "40% same"]


def test_a_panel_for_each_split_with_users(rich, seen_only):
    assert len(gain_distribution(rich).axes) == 2
    assert len(gain_distribution(seen_only).axes) == 1


def test_areas_are_as_wide_as_the_shares(rich):
    """The gaining area begins where losing and unchanged users end, whatever their order in the report."""
    rich["gains"].update(test_unseen=[0.4, -0.1, 0.2, 0.0], test_seen=[])
    (ax,) = gain_distribution(rich).axes
    vertices = ax.collections[1].get_paths()[0].vertices
    assert min(x for x, y in vertices if y > 1e-9) == pytest.approx(50)
    assert max(y for _, y in vertices) == pytest.approx(40)


def test_a_single_user(rich):
    rich["gains"].update(test_unseen=[0.25], test_seen=[])
    assert "100% gain" in texts(gain_distribution(rich).axes[0])


def test_no_user_gains_or_loses(rich):
    rich["gains"].update(test_unseen=[0.0] * 3, test_seen=[])
    assert "100% same" in texts(gain_distribution(rich).axes[0])


def test_titles_and_descriptions_for_screen_readers(rich):
    figure = gain_distribution(rich)
    assert "rank 4" in figure.get_label()
    assert "of 90 users gain" in figure.axes[0].get_label()


def test_without_gains_there_is_no_figure(rich):
    with refused(DataError):
        gain_distribution(rich | {"gains": None})


def users_by_split(content):
    users = content["gains"]["users"]
    return [[user for user in users if user["cell"] == split] for split in ("test_unseen", "test_seen")]


def test_every_user_is_a_dot_at_the_number_of_their_comparisons(rich):
    figure = gain_by_answers(rich)
    assert len(figure.axes) == 2
    for ax, users in zip(figure.axes, users_by_split(rich), strict=True):
        dots = {tuple(dot) for found in ax.collections for dot in found.get_offsets().tolist()}
        for user in users:
            assert any(x == user["n_answers"] and y == pytest.approx(100 * user["gain"]) for x, y in dots)


def test_the_line_is_the_mean_of_users_with_as_many_comparisons(rich):
    ax, users = gain_by_answers(rich).axes[0], users_by_split(rich)[0]
    line = ax.lines[-1]
    assert len(line.get_ydata()) == 5
    mean = sum(line.get_ydata()) / 5
    assert mean == pytest.approx(100 * sum(user["gain"] for user in users) / len(users))


def test_of_very_many_users_some_are_drawn(rich):
    rich["gains"]["users"] *= 20
    for ax in gain_by_answers(rich).axes:
        assert sum(len(found.get_offsets()) for found in ax.collections) < 420
    assert sum(len(found.get_offsets()) for found in weights_map(rich).axes[0].collections) <= 800


def test_gain_and_loss_on_the_map_differ_by_more_than_colour(rich):
    users = rich["gains"]["users"]
    same, loss, gain = weights_map(rich).axes[0].collections
    assert len(same.get_offsets()) + len(loss.get_offsets()) + len(gain.get_offsets()) == len(users)
    assert len(loss.get_offsets()) == sum(user["gain"] < 0 for user in users)
    assert loss.get_facecolors().tolist() != gain.get_facecolors().tolist()
    assert (loss.get_linewidths() > 0).all()


def test_without_users_or_coordinates_there_is_no_figure(seen_only, impersonal):
    with refused(DataError):
        gain_by_answers(impersonal)
    with refused(DataError):
        weights_map(seen_only)
