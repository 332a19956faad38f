"""The order of the report's sections, and which are left out."""

from __future__ import annotations

from lorerm.evaluation.report import Report
from lorerm.reporting.figures import FIGURES
from lorerm.reporting.html import to_html
from lorerm.reporting.markdown import to_markdown
from lorerm.reporting.outline import Picture, outline

SECTIONS = [
    "accuracy", "few-shot", "splits", "personal", "differences", "gains", "axes", "seeds", "data", "settings", "terms"
]  # fmt: skip


def ids(content):
    return [section.id for section in outline(Report.from_dict(content)).sections]


def test_a_full_report_has_every_section_in_order(rich):
    assert ids(rich) == SECTIONS


def test_sections_without_content_are_left_out(seen_only):
    bare = {key: seen_only[key] for key in ("schema_version", "data", "ranks", "chosen_rank")}
    assert ids(bare) == ["accuracy", "splits", "data", "terms"]


def test_every_figure_has_its_place(rich):
    blocks = [block for section in outline(Report.from_dict(rich)).sections for block in section.blocks]
    assert [block.name for block in blocks if isinstance(block, Picture)] == list(FIGURES)


def test_accuracies_that_hint_at_a_fault_are_pointed_at(rich):
    """Below one half where the model was fitted, exactly 0 or exactly 1; the reference head is not fitted."""
    assert outline(Report.from_dict(rich)).checks == ()
    cells = {row["rank"]: row["cells"] for row in rich["ranks"]}
    cells[0]["train_seen"]["mean"] = 0.4
    cells[1]["train_seen"]["mean"] = 0.49
    cells[2]["train_unseen"]["mean"] = 0.3
    cells[3]["test_seen"]["mean"] = 0.0
    cells[4]["test_unseen"]["mean"] = 1.0
    report = Report.from_dict(rich)
    below, wrong, right = outline(report).checks
    assert "single Bradley-Terry (K = 1) for seen users, train prompts; personal weights (K = 2)" in below
    assert "reference" not in below
    assert "personal weights (K = 3) for seen users, test prompts" in wrong
    assert "personal weights (K = 4) for unseen users, test prompts" in right
    for text in (to_markdown(report), to_html(report)):
        assert "To check" in text
        assert "personal weights (K = 3) for seen users, test prompts" in text


def test_leak_warnings_are_in_the_opening(impersonal, rich):
    assert outline(Report.from_dict(impersonal)).leak_warnings == tuple(impersonal["data"]["leaks"]["warnings"])
    assert outline(Report.from_dict(rich)).leak_warnings == ()
