"""Make a complete run: prepare, embed, train, adapt, evaluate, report. Run again, it continues where it stopped.

A data set known by name (tldr, prism, personalllm, community-alignment) brings its experiment with all settings, the
reward model among them; `--encoder hashing` takes the built-in encoder instead, which needs no download.
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
    """Add the verb's arguments; one seed serves split and training."""
    add_source_arguments(parser)
    add_encoder_options(parser)
    add_engine_options(parser)
    add_options(parser, SplitConfig)
    add_training_options(parser, leave_out=("rank", "seed"))
    add_seeds_option(parser)
    add_dataset_options(parser, revision=False)


def call(parsed: argparse.Namespace) -> None:
    """Run the experiment and show its report."""
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
    """Warn that `--recipe` sets the training alone, if the data set has an experiment of that name.

    `--recipe` once meant both.
    """
    recipe, dataset = getattr(parsed, "recipe", "default"), dataset_name(parsed)
    if parsed.experiment is None and recipe != "default" and recipe in packaged_names(dataset):
        warn([f"--recipe {recipe} sets how models are trained; {dataset} as published is --experiment {recipe}."])
