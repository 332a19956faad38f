"""The whole way: prepare, embed, train, adapt, evaluate, report. Run again, it goes on from what is finished."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lorerm.cli.console import progress, warn
from lorerm.cli.embed import embed
from lorerm.cli.encoders import add_encoder_options
from lorerm.cli.engines import add_engine_options
from lorerm.cli.options import add_options, read_options
from lorerm.cli.prepare import add_source_arguments, tell_prepared
from lorerm.cli.report import add_seeds, report, tell_report
from lorerm.cli.train import add_training_options
from lorerm.learning.config import TrainingConfig
from lorerm.run import steps
from lorerm.run.config import SplitConfig
from lorerm.run.folder import RunFolder

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_source_arguments(parser)
    add_encoder_options(parser)
    add_engine_options(parser)
    add_options(parser, SplitConfig)
    add_training_options(parser, seed=False)
    add_seeds(parser)


def call(parsed: argparse.Namespace) -> None:
    """Do it; one seed serves split and training."""
    config = read_options(parsed, TrainingConfig, rank="auto")
    with progress() as show:
        run = RunFolder.create(parsed.out, show)
        prepared = steps.prepare(run, parsed.source, read_options(parsed, SplitConfig), user_column=parsed.user_column)
    tell_prepared(prepared)
    with progress() as show:
        run = RunFolder.open(parsed.out, show)
        embedded = embed(run, parsed)
        steps.train(run, config, parsed.ranks)
        report(run, parsed.seeds)
    warn(embedded["warnings"])
    tell_report(run)
