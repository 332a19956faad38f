"""Adapt the unseen users, evaluate every rank and the controls, and write the report."""

from __future__ import annotations

import argparse
import json

from lorerm.cli.console import progress, say, show_blocks
from lorerm.cli.options import add_run_argument
from lorerm.pipeline.folder import RunFolder
from lorerm.pipeline.layout import REPORT_JSON, REPORT_PAGE
from lorerm.pipeline.run import report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_run_argument(parser)
    add_seeds_option(parser)


def add_seeds_option(parser: argparse.ArgumentParser) -> None:
    """Add the number of seeds."""
    parser.add_argument(
        "--seeds",
        type=int,
        metavar="N",
        help="number of seeds, the run's own included: split, training and evaluation are repeated with the next ones "
        "(default: as many as before, at first 1)",
    )


def call(parsed: argparse.Namespace) -> None:
    """Write the report and show it in short."""
    with progress() as show:
        run = RunFolder.open(parsed.run, show)
        report(run, parsed.seeds)
    show_report(run)


def show_report(run: RunFolder) -> None:
    """Show the report's opening and table, and where the page is."""
    from lorerm.evaluation.report import Report
    from lorerm.reporting.terminal import report_blocks

    content = json.loads((run.path / REPORT_JSON).read_text(encoding="utf-8"))
    show_blocks(report_blocks(Report.from_dict(content)))
    say(f"Report: {run.path / REPORT_PAGE}")
