"""The figure of accuracy against rank."""

from __future__ import annotations

import pytest

from lorerm.errors import DataError
from lorerm.reporting.accuracy_figure import accuracy_by_rank


def texts(ax):
    return {text.get_text() for text in ax.texts}


def test_one_panel_for_unseen_and_one_for_seen_users(rich_report, seen_only_report):
    assert len(accuracy_by_rank(rich_report).axes) == 2
    assert len(accuracy_by_rank(seen_only_report).axes) == 1


def test_the_drawn_means_are_those_of_the_report(rich_report):
    unseen = accuracy_by_rank(rich_report).axes[0]
    means = [100 * entry["cells"]["test_unseen"]["mean"] for entry in rich_report["ranks"][1:]]
    assert any(list(line.get_ydata()) == means for line in unseen.lines)


def test_lines_are_named_beside_them(rich_report, impersonal_report):
    assert texts(accuracy_by_rank(rich_report).axes[0]) == {"personal weights", "shared direction", "reference head"}
    assert texts(accuracy_by_rank(impersonal_report).axes[0]) == {"personal weights", "shared direction"}


def test_the_chosen_rank_is_named_on_the_axis(rich_report):
    labels = [label.get_text() for label in accuracy_by_rank(rich_report).axes[-1].get_xticklabels()]
    assert labels == ["0", "1", "2", "3", "4\nchosen", "5", "6"]


def test_every_interval_is_inside_the_panels(report):
    for name, ax in zip(
        ("test_unseen", "test_seen")[-len(accuracy_by_rank(report).axes) :], accuracy_by_rank(report).axes, strict=True
    ):
        low, high = ax.get_ylim()
        for entry in report["ranks"]:
            if entry["cells"]:
                assert low < 100 * entry["cells"][name]["ci95"][0] < 100 * entry["cells"][name]["ci95"][1] < high


def test_words_for_those_who_do_not_see_it(rich_report):
    figure = accuracy_by_rank(rich_report)
    assert figure.get_label() == "Accuracy on test prompts by rank"
    assert "rank 4" in figure.axes[0].get_label()


def test_one_user_and_one_rank(impersonal_report):
    """No intervals, no controls: still a figure."""
    impersonal_report.update(ranks=impersonal_report["ranks"][:2], controls=[])
    for cell in impersonal_report["ranks"][1]["cells"].values():
        cell.update(stderr=None, ci95=None)
    assert texts(accuracy_by_rank(impersonal_report).axes[0]) == {"one direction"}


def test_no_test_pairs_no_figure(rich_report):
    for entry in rich_report["ranks"]:
        entry["cells"].update(test_seen=None, test_unseen=None)
    with pytest.raises(DataError, match="test prompts"):
        accuracy_by_rank(rich_report)
