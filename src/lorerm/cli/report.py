"""Adapt the unseen users, evaluate every rank beside the controls, and write the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from lorerm.cli.console import output, progress
from lorerm.run import steps
from lorerm.run.folder import RunFolder
from lorerm.run.recipe import stored_recipe

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("run", type=Path, metavar="RUN", help="the run folder")


def call(parsed: argparse.Namespace) -> None:
    """Do it."""
    with progress() as show:
        run = RunFolder.open(parsed.run, show)
        steps.report(run, stored_recipe(parsed.run).adaptation())
    tell_report(run)


def tell_report(run: RunFolder) -> None:
    """Show the answer with the table of the four cells, and where the page is."""
    from lorerm.reporting.tables import console_table

    content = json.loads((run.path / steps.REPORT / "report.json").read_text(encoding="utf-8"))
    console = output()
    console.print()
    console.print(console_table(content))
    console.print(f"Report: {run.path / steps.REPORT / 'report.html'}", soft_wrap=True, markup=False)
