"""Train one model per rank on the seen users; validation pairs choose the run's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lorerm.cli.console import output, progress
from lorerm.cli.options import add_options, read_options
from lorerm.learning.config import TrainingConfig
from lorerm.run import steps
from lorerm.run.folder import RunFolder

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("run", type=Path, metavar="RUN", help="the run folder")
    add_training_options(parser)


def add_training_options(parser: argparse.ArgumentParser, *, seed: bool = True) -> None:
    """Add the ranks and the recipe; without `seed` where another option gives it."""
    parser.add_argument(
        "--ranks", nargs="+", type=int, metavar="K", help="ranks to train (default: 0 to 5, as far as the data allow)"
    )
    add_options(parser, TrainingConfig, leave_out=("rank",) if seed else ("rank", "seed"))


def call(parsed: argparse.Namespace) -> None:
    """Do it."""
    config = read_options(parsed, TrainingConfig, rank="auto")
    with progress() as show:
        result = steps.train(RunFolder.open(parsed.run, show), config, parsed.ranks)
    output().print(
        f"Trained ranks {', '.join(map(str, result['ranks']))}; validation chose rank {result['chosen_rank']}.",
        soft_wrap=True,
    )
    output().print(f"Next: lorerm report {parsed.run}", soft_wrap=True)
