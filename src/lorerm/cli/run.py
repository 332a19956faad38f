"""The whole way: prepare, embed, train, adapt, evaluate, report. Run again, it goes on from what is finished.

A data set by its name (tldr, prism, personalllm, community-alignment) brings its recipe, the reward model included;
`--model embedded` takes the embedded encoder instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lorerm.cli.console import progress, warn
from lorerm.cli.embed import embed
from lorerm.cli.encoders import add_encoder_options
from lorerm.cli.engines import add_engine_options
from lorerm.cli.experiments import add_dataset_options, source_recipe
from lorerm.cli.options import add_options
from lorerm.cli.prepare import add_source_arguments, prepare
from lorerm.cli.report import add_seeds, report, tell_report
from lorerm.cli.train import add_training_options, tell_left_out
from lorerm.pipeline import steps, studies
from lorerm.pipeline.config import SplitConfig
from lorerm.pipeline.experiment import training
from lorerm.pipeline.folder import RunFolder

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_source_arguments(parser)
    add_dataset_options(parser, revision=False)
    add_encoder_options(parser)
    add_engine_options(parser)
    add_options(parser, SplitConfig)
    add_training_options(parser, leave_out=("rank", "seed", "recipe"))
    add_seeds(parser)


def call(parsed: argparse.Namespace) -> None:
    """Do it; one seed serves split and training."""
    studies.check_seeds(parsed.seeds)  # before hours of embedding, not after them
    recipe = source_recipe(parsed)
    config, ranks, alphas = training(recipe)
    prepare(parsed, recipe)
    with progress() as show:
        run = RunFolder.open(parsed.out, show)
        embedded = embed(run, parsed, recipe)
        trained = steps.train(run, config, ranks, alphas, strict=parsed.ranks is not None)
        report(run, parsed.seeds)
    warn(embedded["warnings"])
    tell_left_out(ranks, trained)
    tell_report(run)
