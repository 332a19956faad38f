"""Measure the few-shot curve: the accuracy for unseen users, by the number of comparisons used to adapt to them."""

from __future__ import annotations

import argparse

from lorerm.cli.console import progress, say, show_blocks
from lorerm.cli.options import add_options, add_rank_option, add_run_argument, given_options
from lorerm.evaluation.few_shot import FewShotConfig
from lorerm.pipeline import steps, studies
from lorerm.pipeline.experiment import stored_experiment
from lorerm.pipeline.folder import RunFolder
from lorerm.pipeline.layout import REPORT_PAGE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    add_run_argument(parser)
    parser.add_argument(
        "--shots",
        nargs="+",
        type=int,
        metavar="N",
        help="numbers of comparisons per user at which to measure the accuracy; 0 is always included (default: ten "
        "numbers from 1 to 50, as far as users have so many comparisons)",
    )
    add_rank_option(parser, "to measure", "the rank that validation chose; if that is 0 or 1, the largest")
    add_options(parser, FewShotConfig)


def call(parsed: argparse.Namespace) -> None:
    """Measure the curve, add it to the report, and print it."""
    from lorerm.reporting.terminal import few_shot_block

    with progress() as show:
        run = RunFolder.open(parsed.run, show)
        settings = {**stored_experiment(run.path).shots, **given_options(parsed, FewShotConfig)}
        counts, rank = settings.pop("shots", None), settings.pop("rank", None)
        rank = rank if parsed.rank is None else parsed.rank
        studies.few_shot(run, parsed.shots or counts, FewShotConfig(**settings), rank)
        steps.report(run)
    show_blocks([few_shot_block(studies.read_few_shot(run))])
    say(f"Report: {run.path / REPORT_PAGE}")
