"""Fit the weights of the unseen users (held out of training), evaluate the models, and write the report."""

from __future__ import annotations

import argparse
import json

from lorerm.cli.console import progress, say, show_blocks
from lorerm.cli.options import add_run_argument
from lorerm.pipeline.folder import RunFolder
from lorerm.pipeline.layout import REPORT_JSON, REPORT_PAGE
from lorerm.pipeline.run import report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    add_run_argument(parser)
    add_seeds_option(parser)


def add_seeds_option(parser: argparse.ArgumentParser) -> None:
    """Add the option for the number of seeds."""
    parser.add_argument(
        "--seeds",
        type=int,
        metavar="N",
        help="number of random seeds, including the run's own; split, training and evaluation are repeated for each "
        "further seed (default: the number in the last report of this run, or 1)",
    )


def call(parsed: argparse.Namespace) -> None:
    """Write the report, and print its main results."""
    with progress() as show:
        run = RunFolder.open(parsed.run, show)
        report(run, parsed.seeds)
    show_report(run)


def show_report(run: RunFolder) -> None:
    """Print the report's first sentences and its table, and the path of the HTML report."""
    from lorerm.evaluation.report import Report
    from lorerm.reporting.terminal import report_blocks

    content = json.loads((run.path / REPORT_JSON).read_text(encoding="utf-8"))
    show_blocks(report_blocks(Report.from_dict(content)))
    say(f"Report: {run.path / REPORT_PAGE}")
