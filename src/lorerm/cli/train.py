"""Train one model per rank on the seen users; validation pairs choose the run's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorerm.cli.console import output, progress, warn
from lorerm.cli.experiments import merge_given
from lorerm.cli.options import add_options
from lorerm.pipeline import steps
from lorerm.pipeline.experiment import stored_recipe, training
from lorerm.pipeline.folder import RunFolder
from lorerm.training.config import TrainingConfig

if TYPE_CHECKING:
    import argparse
    from collections.abc import Collection, Mapping


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("run", type=Path, metavar="RUN", help="the run folder")
    add_training_options(parser)


def add_training_options(parser: argparse.ArgumentParser, *, leave_out: Collection[str] = ("rank",)) -> None:
    """Add the ranks, the strengths and the recipe; `leave_out` what is no option, or another's."""
    parser.add_argument(
        "--ranks", nargs="+", type=int, metavar="K", help="ranks to train (default: 0 to 5, as far as the data allow)"
    )
    parser.add_argument(
        "--alphas",
        nargs="+",
        type=float,
        metavar="A",
        help="strengths of a paper recipe's regulariser to sweep: models and a report of their own for each",
    )
    add_options(parser, TrainingConfig, leave_out=leave_out)


def tell_left_out(wanted: Collection[int] | None, result: Mapping[str, Any]) -> None:
    """Say which ranks of a recipe the data do not allow, as a table of its results would lack them without a word."""
    left = sorted(set(wanted or ()) - set(result["ranks"]))
    if left:
        warn([f"Ranks of the recipe that the data do not allow, left out: {', '.join(map(str, left))}."])


def call(parsed: argparse.Namespace) -> None:
    """Do it."""
    config, ranks, alphas = training(merge_given(parsed, stored_recipe(parsed.run)))
    with progress() as show:
        run = RunFolder.open(parsed.run, show)
        result = steps.train(run, config, ranks, alphas, strict=parsed.ranks is not None)
    tell_left_out(ranks, result)
    at = "" if result["chosen_alpha"] is None else f" at alpha {result['chosen_alpha']:g}"
    output().print(
        f"Trained ranks {', '.join(map(str, result['ranks']))}; validation chose rank {result['chosen_rank']}{at}.",
        soft_wrap=True,
    )
    output().print(f"Next: lorerm report {parsed.run}", soft_wrap=True)
