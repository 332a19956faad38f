"""The order of the report's sections, and which are left out."""

from __future__ import annotations

from lorerm.evaluation.report import Report
from lorerm.reporting.figures import FIGURES
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


def test_leak_warnings_are_in_the_opening(impersonal, rich):
    assert outline(Report.from_dict(impersonal)).leak_warnings == tuple(impersonal["data"]["leaks"]["warnings"])
    assert outline(Report.from_dict(rich)).leak_warnings == ()
