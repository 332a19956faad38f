"""The report as Markdown."""

from __future__ import annotations

import re

from lorerm.evaluation.report import Report
from lorerm.reporting.glossary import GLOSSARY
from lorerm.reporting.markdown import to_markdown
from lorerm.reporting.outline import outline


def markdown(content):
    return to_markdown(Report.from_dict(content))


def test_the_headline_and_the_summary_come_first(content):
    found = outline(Report.from_dict(content))
    lines = markdown(content).splitlines()
    assert lines[2] == f"**{found.headline}**"
    assert lines[4].startswith(found.summary[:60])
    assert lines[6].endswith(found.next_step)


def test_every_rank_with_its_standard_error(rich):
    text = markdown(rich)
    found = rich["ranks"][4]["cells"]["test_unseen"]
    assert f"**{100 * found['mean']:.1f} ± {100 * found['stderr']:.1f}** |" in text
    assert "| **personal weights (K = 4)** (chosen) |" in text
    assert "| another user's weights |" in text


def test_tables_have_as_many_cells_as_columns(content):
    """A bar in a text of the data must not open a new column."""
    for block in markdown(content).split("\n\n"):
        if block.startswith("|"):
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_texts_of_the_data_are_shown_as_they_are(impersonal):
    text = markdown(impersonal)
    assert "<script>" not in text
    assert "&lt;script>" in text
    assert r"warning \| with a bar" in text


def test_leak_warnings_come_before_the_tables(impersonal):
    text = markdown(impersonal)
    assert text.index(impersonal["data"]["leaks"]["warnings"][0][:40]) < text.index("| Rank |")


def test_blocks_are_separated_by_one_empty_line(content):
    assert "\n\n\n" not in markdown(content)
    assert markdown(content).endswith("\n")


def test_optional_parts_may_be_missing(rich):
    for key in ("config", "controls", "differences", "gains", "agreement", "axes", "shots", "seeds", "lorerm_version"):
        del rich[key]
    assert "| personal weights (K = 6) |" in markdown(rich)


def test_the_terms_are_explained(rich):
    text = markdown(rich)
    assert all(f"- {term}: " in text for term, _ in GLOSSARY)
