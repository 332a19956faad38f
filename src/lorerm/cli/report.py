"""Adapt the unseen users, evaluate every rank beside the controls, and write the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from lorerm.cli.console import output, progress
from lorerm.pipeline import steps, studies
from lorerm.pipeline.folder import RunFolder

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("run", type=Path, metavar="RUN", help="the run folder")
    add_seeds(parser)


def add_seeds(parser: argparse.ArgumentParser) -> None:
    """Add the number of seeds."""
    parser.add_argument(
        "--seeds",
        type=int,
        metavar="N",
        help="repeat split, training and evaluation with the next seeds, N in all (default: 1, or those done before)",
    )


def call(parsed: argparse.Namespace) -> None:
    """Do it."""
    with progress() as show:
        report(RunFolder.open(parsed.run, show), parsed.seeds)
    tell_report(RunFolder.open(parsed.run))


def report(run: RunFolder, seeds: int | None = None) -> None:
    """Do all that the report shows: further seeds where asked for, the few-shot curve where it is cheap, the report."""
    studies.seeds(run, seeds)
    studies.few_shot_by_default(run)
    steps.report(run)


def tell_report(run: RunFolder) -> None:
    """Show the answer with the table of the four cells, and where the page is."""
    from lorerm.evaluation.report import Report
    from lorerm.reporting.terminal import report_blocks

    content = json.loads((run.path / steps.REPORT / "report.json").read_text(encoding="utf-8"))
    console = output()
    for block in report_blocks(Report.from_dict(content)):
        console.print()
        console.print(block)
    console.print(f"Report: {run.path / steps.REPORT / 'report.html'}", soft_wrap=True, markup=False)
