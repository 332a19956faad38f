"""The public class `Report` and the files that it writes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from lorerm.errors import ConfigError, DataError, RunError
from lorerm.evaluation import report as results
from lorerm.reporting.report import Report, write_report
from refusals import refused


def test_write_and_read_back(content, tmp_path):
    written = write_report(results.Report.from_dict(content), tmp_path / "report")
    names = {path.relative_to(tmp_path / "report").as_posix() for path in written}
    assert {"report.json", "report.md", "report.html", "figures/accuracy_by_rank.svg"} <= names
    read = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    assert results.Report.from_dict(read) == results.Report.from_dict(content)


def test_no_other_file_is_written(seen_only, tmp_path):
    written = write_report(results.Report.from_dict(seen_only), tmp_path)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == set(written)


def test_nan_is_refused_before_a_file_is_written(seen_only, tmp_path):
    report = results.Report.from_dict(seen_only)
    object.__setattr__(report.ranks[0].accuracies["test_seen"], "mean", float("nan"))
    with refused(DataError, "ranks[0].cells.test_seen.mean "):
        write_report(report, tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_folder_that_cannot_be_created_is_named(seen_only, tmp_path):
    (tmp_path / "report").write_text("in the way")
    with refused(RunError, str(tmp_path / "report")):
        write_report(results.Report.from_dict(seen_only), tmp_path / "report")


def test_the_printed_form_names_the_ranks_and_no_user(seen_only):
    assert repr(Report.of(results.Report.from_dict(seen_only))) == "Report(ranks=[3], chosen_rank=3)"


def test_the_methods_render_the_report(seen_only, tmp_path):
    report = Report.of(results.Report.from_dict(seen_only))
    assert results.Report.from_dict(report.to_dict()) == results.Report.from_dict(seen_only)
    assert report.to_markdown().startswith("# Report")
    assert report.to_html().startswith("<!DOCTYPE html>")
    assert report.figure().get_gid() == "accuracy-by-rank"
    assert report.figure("gain_distribution").get_gid() == "gain-distribution"
    assert report.write(tmp_path) == write_report(report, tmp_path)


def test_an_unknown_figure_is_refused_with_the_names_of_the_figures(seen_only):
    with refused(ConfigError, "'loss'", "accuracy_by_rank, shots_curve, shots_people", argument="name"):
        Report.of(results.Report.from_dict(seen_only)).figure("loss")


@pytest.mark.parametrize("module", ["report", "html", "markdown", "terminal", "figures"])
def test_importing_it_loads_no_heavy_library(module):
    code = (
        f"import sys, lorerm.reporting.{module};"
        "print([name for name in ('torch', 'matplotlib', 'jinja2', 'rich') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
