"""Sweep the few-shot curve: the accuracy of people never seen against the number of their answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lorerm.cli.console import output, progress
from lorerm.cli.options import add_options, given_options
from lorerm.evaluation.few_shot import FewShotConfig
from lorerm.pipeline import steps, studies
from lorerm.pipeline.experiment import stored_recipe
from lorerm.pipeline.folder import RunFolder

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("run", type=Path, metavar="RUN", help="the run folder")
    parser.add_argument(
        "--shots",
        nargs="+",
        type=int,
        metavar="N",
        help="numbers of answers; 0 is always among them (default: 1 to 50, as far as anybody has so many)",
    )
    parser.add_argument(
        "--rank", type=int, metavar="K", help="whose curve (default: the rank that validation chose, or the largest)"
    )
    add_options(parser, FewShotConfig)


def call(parsed: argparse.Namespace) -> None:
    """Do it, and write the report with it."""
    from lorerm.reporting.terminal import few_shot_block

    with progress() as show:
        run = RunFolder.open(parsed.run, show)
        recipe = stored_recipe(run.path)
        settings = {**recipe.shots, **given_options(parsed, FewShotConfig)}
        counts, rank = settings.pop("shots", None), settings.pop("rank", None)
        config = FewShotConfig(**settings)
        studies.few_shot(run, parsed.shots or counts, config, rank if parsed.rank is None else parsed.rank)
        steps.report(run)
    console = output()
    console.print()
    console.print(few_shot_block(studies.read_few_shot(run)))
    console.print(f"Report: {run.path / steps.REPORT / 'report.html'}", soft_wrap=True)
