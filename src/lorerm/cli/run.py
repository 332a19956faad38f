"""Make a complete run: prepare, embed, train, adapt, evaluate, report. If interrupted, run the same command again.

Each data set known by name (tldr, prism, personalllm, community-alignment) has an experiment with all settings,
including the reward model. `--encoder hashing` selects the built-in encoder instead, which needs no download.
"""

from __future__ import annotations

import argparse

from lorerm.cli.console import progress, warn
from lorerm.cli.embed import encoder_of
from lorerm.cli.encoders import add_encoder_options
from lorerm.cli.engines import add_engine_options
from lorerm.cli.experiments import add_dataset_options, add_source_arguments, dataset_name, read_source
from lorerm.cli.options import add_options
from lorerm.cli.prepare import show_prepared
from lorerm.cli.report import add_seeds_option, show_report
from lorerm.cli.train import add_training_options, warn_of_left_out_ranks
from lorerm.data.splits import SplitConfig
from lorerm.pipeline.experiment import packaged_names
from lorerm.pipeline.run import run_experiment


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand. `--seed` is the seed of both the split and the training."""
    add_source_arguments(parser)
    add_encoder_options(parser)
    add_engine_options(parser)
    add_options(parser, SplitConfig)
    add_training_options(parser, leave_out=("rank", "seed"))
    add_seeds_option(parser)
    add_dataset_options(parser, revision=False)


def call(parsed: argparse.Namespace) -> None:
    """Run the experiment, and print the main results of its report."""
    source = read_source(parsed)
    _note_recipe(parsed)
    settings, encoder = encoder_of(parsed, source.experiment)
    with progress() as show:
        run = run_experiment(
            parsed.out,
            source,
            encoder,
            settings,
            strict=parsed.ranks is not None,
            seeds=parsed.seeds,
            progress=show,
            on_prepared=lambda found: show.interrupt(lambda: show_prepared(found)),
        )
    warn(run.result("embed")["warnings"])
    warn_of_left_out_ranks(run, source.experiment)
    show_report(run)


def _note_recipe(parsed: argparse.Namespace) -> None:
    """Warn if `--recipe` names an experiment of the data set, which earlier versions would have run."""
    recipe, dataset = getattr(parsed, "recipe", "default"), dataset_name(parsed)
    if parsed.experiment is None and recipe != "default" and recipe in packaged_names(dataset):
        warn(
            [f"--recipe {recipe} only sets how models are trained; --experiment {recipe} runs {dataset} as published."]
        )
