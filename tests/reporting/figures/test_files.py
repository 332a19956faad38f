"""Figures written to files."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET

from lorerm.evaluation.report import Report
from lorerm.reporting import figures
from lorerm.reporting.figures import FIGURES


def save_figures(content, folder):
    return figures.save_figures(figures.draw_figures(Report.from_dict(content)), folder)


def test_every_figure_as_svg_and_png(rich, tmp_path):
    written = save_figures(rich, tmp_path / "figures")
    assert {path.name for path in written} == {f"{name}.{suffix}" for name in FIGURES for suffix in ("svg", "png")}
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {path.name for path in written}


def test_the_same_report_gives_the_same_bytes(seen_only, tmp_path):
    first, second = (save_figures(seen_only, tmp_path / name) for name in "ab")
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def test_files_hold_neither_time_nor_program(seen_only, tmp_path):
    for path in save_figures(seen_only, tmp_path):
        content = path.read_bytes()
        assert b"Software" not in content
        assert b"Matplotlib" not in content
        assert b"date" not in content.lower()


def test_svg_files_are_well_formed_and_readable_on_white(seen_only, tmp_path):
    save_figures(seen_only, tmp_path)
    root = ET.parse(tmp_path / "accuracy_by_rank.svg").getroot()  # noqa: S314
    text = (tmp_path / "accuracy_by_rank.svg").read_text(encoding="utf-8")
    assert root.attrib["style"] == "background: #ffffff"
    assert "currentColor" not in text
    assert "var(" not in text


def test_a_figure_that_is_no_longer_there_is_removed(seen_only, tmp_path):
    save_figures(seen_only, tmp_path)
    assert (tmp_path / "gain_by_answers.png").exists()
    written = save_figures(seen_only | {"gains": None}, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in written)
    assert len(written) == 2


def test_pyplot_is_not_loaded(seen_only, tmp_path):
    """Pyplot has global state, which a library must not change."""
    loaded = "matplotlib.pyplot" in sys.modules
    save_figures(seen_only, tmp_path)
    assert ("matplotlib.pyplot" in sys.modules) == loaded
