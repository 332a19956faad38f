"""The report as one object and as files."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from lorerm.errors import ConfigError, DataError, RunError
from lorerm.reporting.report import Report, write_report


def test_write_and_read_back(report, tmp_path):
    written = write_report(report, tmp_path / "report")
    names = {path.relative_to(tmp_path / "report").as_posix() for path in written}
    assert {"report.json", "report.md", "report.html", "figures/accuracy_by_rank.svg"} <= names
    text = (tmp_path / "report" / "report.json").read_text(encoding="utf-8")
    assert json.loads(text) == report
    assert list(json.loads(text)) == list(report)


def test_nothing_is_left_beside_the_files(seen_only_report, tmp_path):
    written = write_report(seen_only_report, tmp_path)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == set(written)


def test_nan_is_refused_before_anything_is_written(seen_only_report, tmp_path):
    seen_only_report["gains"]["test_seen"][0] = float("nan")
    with pytest.raises(DataError, match=r"gains\.test_seen\[0\]"):
        write_report(seen_only_report, tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_folder_that_cannot_be_made_is_an_error_that_names_it(seen_only_report, tmp_path):
    (tmp_path / "report").write_text("in the way")
    with pytest.raises(RunError, match="report"):
        write_report(seen_only_report, tmp_path / "report")


def test_printed_it_tells_its_ranks(seen_only_report):
    assert repr(Report(seen_only_report)) == "Report(ranks=[3], chosen_rank=3)"


def test_the_object_shows_what_the_functions_do(seen_only_report, tmp_path):
    shown = Report(seen_only_report)
    assert shown.to_dict() == seen_only_report
    assert shown.to_markdown().startswith("# Report")
    assert shown.to_html().startswith("<!DOCTYPE html>")
    assert shown.figure().get_label() == "Accuracy on test prompts by rank"
    assert "Gain" in shown.figure("gain_distribution").get_label()
    assert shown.write(tmp_path) == write_report(seen_only_report, tmp_path)


def test_the_dict_given_out_is_a_copy(seen_only_report):
    shown = Report(seen_only_report)
    shown.to_dict()["ranks"].clear()
    assert shown.to_dict()["ranks"]


def test_an_unknown_figure_is_refused_with_the_names_there_are(seen_only_report):
    with pytest.raises(ConfigError, match="choose one of accuracy_by_rank, shots_curve, shots_people"):
        Report(seen_only_report).figure("loss")


def test_what_is_no_report_is_refused():
    with pytest.raises(DataError):
        Report({"schema_version": 1})


def test_importing_it_loads_no_heavy_library():
    code = (
        "import sys, lorerm.reporting.report, lorerm.reporting.page, lorerm.reporting.figures;"
        "print([name for name in ('torch', 'matplotlib', 'jinja2', 'rich') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
