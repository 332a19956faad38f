"""Fit the weights of new users from files of their answers, and keep them in the run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lorerm.cli.console import output, progress, warn
from lorerm.cli.encoders import add_running_options, run_encoder
from lorerm.run.folder import RunFolder
from lorerm.run.models import add_users, chosen_rank, load_model

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("run", type=Path, metavar="RUN", help="the run folder")
    parser.add_argument(
        "--data", required=True, nargs="+", type=Path, metavar="FILE", help="answers, in the format of `lorerm run`"
    )
    parser.add_argument(
        "--user-column", default="user_id", metavar="NAME", help="the column of the users (default: user_id)"
    )
    parser.add_argument(
        "--rank", type=int, metavar="K", help="the model to adapt (default: the one that validation chose)"
    )
    add_running_options(parser)


def call(parsed: argparse.Namespace) -> None:
    """Do it."""
    from lorerm.encoding.embed import embed
    from lorerm.learning.adaptation import adapt
    from lorerm.learning.config import TrainingConfig
    from lorerm.learning.training import adaptation_for
    from lorerm.preferences.preferences import Preferences

    run = RunFolder.open(parsed.run)
    model = load_model(run, parsed.rank)
    answers = Preferences.from_files(*parsed.data, user_column=parsed.user_column)
    with progress() as show:
        encoder = run_encoder(run, parsed)
        data = embed(answers, encoder, lambda done, total: show("embedding", done, total))
    users = adapt(model, data, adaptation_for(TrainingConfig(**model.training["config"])))
    add_users(run, users, chosen_rank(run) if parsed.rank is None else parsed.rank)
    warn(answers.summary.warnings())
    output().print(f"Adapted {len(users):,} users from {len(answers):,} answers.", soft_wrap=True)
