"""Train one model per rank (number of reward directions); held-out comparisons choose the rank that the run uses."""

from __future__ import annotations

import argparse
from collections.abc import Collection

from lorerm.cli.console import progress, say, warn
from lorerm.cli.experiments import merge_options
from lorerm.cli.options import add_options, add_run_argument
from lorerm.pipeline import steps
from lorerm.pipeline.experiment import Experiment, stored_experiment
from lorerm.pipeline.folder import RunFolder
from lorerm.pipeline.run import left_out_ranks
from lorerm.training.config import TrainingConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    add_run_argument(parser)
    add_training_options(parser, leave_out=("rank",))


def add_training_options(parser: argparse.ArgumentParser, *, leave_out: Collection[str]) -> None:
    """Add `--ranks`, `--alphas`, and an option for each field of `TrainingConfig` that is not in `leave_out`."""
    parser.add_argument(
        "--ranks",
        nargs="+",
        type=int,
        metavar="K",
        help="ranks (numbers of reward directions) to train; 0 is the encoder's own reward head, 1 the same ranking "
        "for all users (default: 0 to 5, as far as the data allow)",
    )
    parser.add_argument(
        "--alphas",
        nargs="+",
        type=float,
        metavar="A",
        help="several values of --alpha: each gets its own models and its own report",
    )
    add_options(parser, TrainingConfig, leave_out=leave_out)


def call(parsed: argparse.Namespace) -> None:
    """Train the models, and print the rank that validation chose."""
    with progress() as show:
        run = RunFolder.open(parsed.run, show)
        experiment = merge_options(parsed, stored_experiment(run.path))
        config, ranks, alphas = experiment.training()
        found = steps.train(run, config, ranks, alphas, strict=parsed.ranks is not None)
    warn(found.get("warnings", []))
    warn_of_left_out_ranks(run, experiment)
    alpha = "" if found["chosen_alpha"] is None else f" at alpha {found['chosen_alpha']:g}"
    say(
        f"Trained ranks {', '.join(map(str, found['ranks']))}; validation chose rank {found['chosen_rank']}{alpha}.",
    )
    say(f"Next: lorerm report {parsed.run}")


def warn_of_left_out_ranks(run: RunFolder, experiment: Experiment) -> None:
    """Warn about ranks of the experiment that the data do not allow: the report has no rows for them."""
    if left_out := left_out_ranks(run, experiment):
        warn([f"Ranks of the experiment that the data do not allow, left out: {', '.join(map(str, left_out))}."])
