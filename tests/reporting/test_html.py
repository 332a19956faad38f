"""The HTML report: its content, that it needs no other file, and how a browser renders it."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

import pytest

from lorerm.evaluation.report import Report
from lorerm.reporting.html import to_html
from lorerm.reporting.outline import outline

N_FIGURES = {"rich_report": 6, "impersonal_report": 2, "seen_only_report": 3}
NAMES = ["rich_report", "impersonal_report", "seen_only_report"]
VOID = {"meta", "link", "br", "hr", "img", "input"}


class Outline(HTMLParser):
    """Notes ids, links within the page, headings' levels, and tags that are not closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.levels: list[int] = []
        self.tags: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        if re.fullmatch(r"h[1-6]", tag):
            self.levels.append(int(tag[1]))
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            elif name == "href" and value.startswith("#"):
                self.targets.append(value[1:])
            elif name in ("aria-labelledby", "aria-describedby"):
                self.targets += value.split()

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def pages(samples):
    """The pages of all sample reports, by the report's name."""
    return {name: to_html(Report.from_dict(make())) for name, make in samples.items()}


@pytest.fixture(params=NAMES)
def page(request, pages):
    """Each of the pages in turn."""
    return pages[request.param]


def visible(page):
    """Return the text of a page without its tags, one space between words."""
    body = re.sub(r"<(style|svg).*?</\1>", "", page[page.index("<body") :], flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", body)).split())


@pytest.mark.parametrize("name", NAMES)
def test_the_headline_opens_the_page(samples, pages, name):
    heading = re.search(r"<h1>(.*?)</h1>", pages[name])[1]
    assert html.unescape(re.sub(r"</?em>", "", heading)) == outline(Report.from_dict(samples[name]())).headline
    assert pages[name].index("<h1>") < pages[name].index("<main")


def test_the_page_is_well_formed(page):
    outline = Outline(page)
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    assert set(outline.targets) <= set(outline.ids)
    assert outline.levels[0] == 1
    assert outline.levels.count(1) == 1
    assert all(deeper - level <= 1 for level, deeper in zip(outline.levels, outline.levels[1:], strict=False))


def test_tables_have_captions_and_scopes(page):
    assert page.count("<table") == page.count("<caption>") > 2
    assert "<th>" not in page


def test_the_page_needs_nothing_else(page):
    assert not re.search(r'(src|href)="(?!#|data:)', page.replace("xlink:href", ""))
    assert not re.search(r"@import|url\((?!#)|<script", page)
    addresses = set(re.findall(r"https?://[^\"' )]+", page))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_texts_of_the_data_are_escaped(pages):
    page = pages["impersonal_report"]
    assert "<script" not in page
    assert "<b>bold</b>" not in page
    assert "&lt;script&gt;" in page


def test_texts_in_every_place_are_escaped(rich):
    """Every string of the report that comes from the input is shown as text, not interpreted as HTML."""
    evil = "<script>alert(1)</script>"
    rich["data"].update(source=evil, warnings=[evil])
    rich["data"]["leaks"]["warnings"] = [evil]
    rich["data"]["encoder"].update(model=evil, template=evil)
    rich["config"]["training"] = {evil: evil}
    rich["ranks"][0] |= {"available": False, "cells": None, "reason": evil}
    for control in rich["controls"]:
        control |= {"name": evil, "label": evil}
    for user in [*rich["gains"]["users"], *rich["shots"]["examples"]]:
        user["user_id"] = evil
    for axis in rich["axes"]["directions"]:
        axis |= {"highest": [evil], "lowest": [evil], "name": evil}
        axis["properties"][0]["name"] = evil
    rich["published"][evil] = [0.7] * 7
    rich["lorerm_version"] = evil
    assert "<script" not in to_html(Report.from_dict(rich))


def test_a_leak_is_shown_above_all_figures(pages):
    page = pages["impersonal_report"]
    assert page.index('class="alarm"') < page.index("<main")
    assert 'class="alarm"' not in pages["rich_report"]


def test_every_number_of_the_main_table_is_there(rich, pages):
    text = visible(pages["rich_report"])
    for row in rich["ranks"]:
        for accuracy in row["cells"].values():
            assert f"{100 * accuracy['mean']:.1f} ± {100 * accuracy['stderr']:.1f}" in text


def test_every_section_is_in_the_list_of_sections(samples, pages, seen_only):
    for name in NAMES:
        ids = [section.id for section in outline(Report.from_dict(samples[name]())).sections]
        assert re.findall(r'<a href="#([^"]+)">', pages[name]) == ids
        assert re.findall(r'<h2 id="([^"]+)">', pages[name][pages[name].index("<main") :]) == ids
    bare = {key: seen_only[key] for key in ("schema_version", "data", "ranks", "chosen_rank")}
    page = to_html(Report.from_dict(bare))
    assert 'id="gains"' not in page
    assert "Undefined" not in page


def test_intervals_are_drawn_to_scale(pages):
    """Zero is left of an interval above it, and the dot is in the middle of its interval."""
    page = pages["rich_report"]
    zero = float(re.search(r'class="zero" style="left: ([\d.]+)%', page)[1])
    ranges = re.findall(
        r'class="range" style="left: ([\d.]+)%; width: ([\d.]+)%"></span><span class="dot" style="left: ([\d.]+)%', page
    )
    assert len(ranges) == 8
    for left, width, dot in (tuple(map(float, found)) for found in ranges):
        assert left > zero
        assert dot == pytest.approx(left + width / 2, abs=0.02)
        assert left + width <= 100


def test_the_same_report_gives_the_same_page(rich, pages):
    assert to_html(Report.from_dict(rich)) == pages["rich_report"]


def contrast(one, other):
    """Return the contrast of two #rrggbb colours as WCAG 2 defines it."""

    def luminance(colour):
        channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_of_all_text_colours(pages):
    schemes = re.findall(r":root \{(.*?)\}", pages["rich_report"], flags=re.DOTALL)
    assert len(schemes) == 3  # light, dark, print
    for scheme in schemes:
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", scheme))
        for text in ("ink", "muted", "accent"):
            for ground in ("paper", "wash"):
                assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
        for text in ("alarm", "ink"):
            assert contrast(colours[text], colours["alarm-wash"]) >= 4.5


@pytest.fixture(scope="module")
def addresses(pages, tmp_path_factory):
    """The pages of all sample reports as files, by the report's name."""
    found = {}
    for name, page in pages.items():
        file = tmp_path_factory.mktemp("page") / f"{name}.html"
        file.write_text(page, encoding="utf-8")
        found[name] = file.as_uri()
    return found


@pytest.mark.browser
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1400])
def test_in_a_browser(browser, addresses, name, width, scheme):
    """No error, no request, no sideways scrolling, with all details open too; headline and figures are seen."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    try:
        messages, requests = [], []
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(addresses[name])
        assert [url for url in requests if not url.startswith("data:")] == [addresses[name]]
        assert messages == []
        assert page.locator("h1").is_visible()
        boxes = [figure.bounding_box() for figure in page.locator("figure svg").all()]
        assert len(boxes) == N_FIGURES[name]
        assert all(box["width"] > 200 and box["x"] + box["width"] <= width for box in boxes)
        for is_open in (False, True):
            page.eval_on_selector_all("details", f"found => found.forEach(one => one.open = {str(is_open).lower()})")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    finally:
        page.close()


@pytest.mark.browser
@pytest.mark.parametrize("name", NAMES)
def test_words_in_figures_stay_inside_them(browser, addresses, name):
    """At a phone's width the words are drawn larger: none may be cut."""
    page = browser.new_page(viewport={"width": 390, "height": 900})
    try:
        page.goto(addresses[name])
        ends = page.eval_on_selector_all(
            "figure svg text",
            """all => all.map(one => [one.textContent, one.getBoundingClientRect().right,
                                      one.ownerSVGElement.getBoundingClientRect().right])""",
        )
        assert ends
        assert [word for word, end, edge in ends if end > edge + 0.5] == []
    finally:
        page.close()


@pytest.mark.browser
def test_everything_is_reached_by_keyboard(browser, addresses):
    """Tab goes from the link that skips the header through the sections to every detail, and each shows its focus."""
    page = browser.new_page()
    try:
        page.goto(addresses["rich_report"])
        reached = []
        for _ in range(60):
            page.keyboard.press("Tab")
            found = page.evaluate(
                "[document.activeElement.tagName, document.activeElement.textContent.slice(0, 30),"
                " getComputedStyle(document.activeElement).outlineStyle]"
            )
            reached.append(found)
            if found[0] == "BODY":
                break
        assert reached[0][1] == "Skip to the report"
        assert all(outline != "none" for tag, _, outline in reached if tag in ("A", "SUMMARY"))
        assert sum(tag == "SUMMARY" for tag, _, _ in reached) == page.locator("summary").count()
        page.locator("summary").first.focus()
        page.keyboard.press("Enter")
        assert page.locator("details").first.evaluate("one => one.open")
    finally:
        page.close()


@pytest.mark.browser
def test_on_paper_the_details_are_open(browser, addresses):
    page = browser.new_page()
    try:
        page.goto(addresses["rich_report"])
        page.emulate_media(media="print")
        assert page.locator(".glossary").is_visible()
        assert not page.locator("nav").is_visible()
    finally:
        page.close()
