"""Figures as SVG inside the HTML report."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import matplotlib as mpl
import pytest

from lorerm.evaluation.report import Report
from lorerm.reporting.figures import FIGURES
from lorerm.reporting.figures.svg import INK, to_svg

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def inline(rich):
    return [to_svg(draw(Report.from_dict(rich))) for draw in FIGURES.values()]


def test_title_and_description_name_the_picture(inline):
    for svg in inline:
        root = ET.fromstring(svg)  # noqa: S314
        assert root.attrib["role"] == "img"
        texts = {node.attrib["id"]: node.text for node in (root.find(f"{SVG}title"), root.find(f"{SVG}desc"))}
        assert root.attrib["aria-labelledby"].split() == list(texts)
        assert all(len(text) > 20 for text in texts.values())


def test_ids_are_unique_across_figures_and_references_hold(inline):
    page = "".join(inline)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    references = re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', page)
    assert references
    assert set(references) <= set(ids)


def test_colours_follow_the_page(inline):
    for svg in inline:
        assert "currentColor" in svg
        assert "var(--accent" in svg
        assert INK not in svg
        bare = re.sub(r"var\([^)]*\)", "", svg)
        assert not re.findall(r"#[0-9a-f]{6}\b", bare)


def test_text_is_text_in_the_fonts_of_the_page(inline):
    assert ">personal weights</text>" in inline[0]
    assert "DejaVu" not in "".join(inline)


def test_nothing_reaches_out_of_the_picture(inline):
    """No prolog inside a page, no style sheet that would style the rest of it, no scripts."""
    for svg in inline:
        assert svg.startswith("<svg")
        assert not re.search(r"<\?xml|<!DOCTYPE|<style|<script|<metadata", svg)


def test_the_users_matplotlib_settings_do_not_matter_and_come_back(rich):
    draw, report = FIGURES["accuracy_by_rank"], Report.from_dict(rich)
    expected = to_svg(draw(report))
    with mpl.rc_context({"font.size": 31, "axes.grid": True, "svg.fonttype": "path", "lines.linewidth": 9}):
        assert to_svg(draw(report)) == expected
        assert mpl.rcParams["font.size"] == 31


def test_older_matplotlibs_font_shorthand_is_understood():
    from lorerm.reporting.figures.svg import _without_clutter

    old = """<text style="font: 700 10.5px 'DejaVu Sans', sans-serif; text-anchor: end">a</text>"""
    assert _without_clutter(old) == '<text style="font-weight: 700; font-size: 10.5px; text-anchor: end">a</text>'
    light = """<text style="font: 10px 'DejaVu Sans'; fill: #000000">a</text>"""
    assert _without_clutter(light) == '<text style="font-size: 10px; fill: #000000">a</text>'
