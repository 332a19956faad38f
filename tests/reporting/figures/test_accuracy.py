"""The figure of accuracy against rank."""

from __future__ import annotations

from lorerm.errors import DataError
from lorerm.evaluation.report import Report
from lorerm.reporting.figures import accuracy
from refusals import refused


def accuracy_by_rank(content):
    return accuracy.accuracy_by_rank(Report.from_dict(content))


def texts(ax):
    return {text.get_text() for text in ax.texts}


def test_one_panel_for_unseen_and_one_for_seen_users(rich, seen_only):
    assert len(accuracy_by_rank(rich).axes) == 2
    assert len(accuracy_by_rank(seen_only).axes) == 1


def test_the_drawn_means_are_those_of_the_report(rich):
    unseen = accuracy_by_rank(rich).axes[0]
    means = [100 * entry["cells"]["test_unseen"]["mean"] for entry in rich["ranks"][1:]]
    assert any(list(line.get_ydata()) == means for line in unseen.lines)


def test_lines_are_named_beside_them(rich, impersonal):
    assert texts(accuracy_by_rank(rich).axes[0]) == {"personal weights", "population model", "reference head"}
    assert texts(accuracy_by_rank(impersonal).axes[0]) == {"personal weights", "population model"}


def test_the_chosen_rank_is_named_on_the_axis(rich):
    labels = [label.get_text() for label in accuracy_by_rank(rich).axes[-1].get_xticklabels()]
    assert labels == ["0", "1", "2", "3", "4\nchosen", "5", "6"]


def test_every_interval_is_inside_the_panels(content):
    for name, ax in zip(
        ("test_unseen", "test_seen")[-len(accuracy_by_rank(content).axes) :],
        accuracy_by_rank(content).axes,
        strict=True,
    ):
        low, high = ax.get_ylim()
        for entry in content["ranks"]:
            if entry["cells"]:
                assert low < 100 * entry["cells"][name]["ci95"][0] < 100 * entry["cells"][name]["ci95"][1] < high


def test_titles_and_descriptions_for_screen_readers(rich):
    figure = accuracy_by_rank(rich)
    assert figure.get_label() == "Accuracy on test prompts by rank"
    assert "rank 4" in figure.axes[0].get_label()


def test_one_user_and_one_rank(impersonal):
    """No intervals, no controls: still a figure."""
    impersonal.update(ranks=impersonal["ranks"][:2], controls=[])
    for found in impersonal["ranks"][1]["cells"].values():
        found.update(stderr=None, ci95=None)
    assert texts(accuracy_by_rank(impersonal).axes[0]) == {"Bradley-Terry"}


def test_without_comparisons_on_test_prompts_there_is_no_figure(rich):
    for entry in rich["ranks"]:
        entry["cells"].update(test_seen=None, test_unseen=None)
    with refused(DataError):
        accuracy_by_rank(rich)
