"""Compute the embedding of every distinct conversation (prompt and response) of a prepared run."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from lorerm.cli.console import progress, say, warn
from lorerm.cli.encoders import add_encoder_options, encoder_settings, make_encoder, uses_gpu
from lorerm.cli.engines import add_engine_options, on_engine
from lorerm.cli.experiments import fill_encoder_options
from lorerm.cli.options import add_run_argument
from lorerm.embedding.encoder import Encoder
from lorerm.embedding.registry import BUILT_IN
from lorerm.errors import ModelError
from lorerm.pipeline import steps
from lorerm.pipeline.experiment import Experiment, stored_experiment
from lorerm.pipeline.folder import RunFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    add_run_argument(parser)
    add_encoder_options(parser)
    add_engine_options(parser)


def call(parsed: argparse.Namespace) -> None:
    """Embed the conversations, and print warnings about them."""
    with progress() as show:
        run = RunFolder.open(parsed.run, show)
        settings, encoder = encoder_of(parsed, stored_experiment(run.path))
        with encoder as make:
            found = steps.embed(run, make, settings)
    warn(found["warnings"])
    say(f"Next: lorerm train {parsed.run}")


def encoder_of(
    parsed: argparse.Namespace, experiment: Experiment
) -> tuple[dict[str, Any], AbstractContextManager[Callable[[], Encoder]]]:
    """Return the encoder's settings, and a context manager that yields a function to build the encoder.

    Options on the command line have precedence over the settings of the experiment. The option `--engine` determines
    where the encoder runs.
    """
    is_experiments = parsed.model is None and parsed.encoder is None and "model" in experiment.embed
    fill_encoder_options(parsed, experiment)
    settings = encoder_settings(parsed)

    @contextmanager
    def encoder() -> Iterator[Callable[[], Encoder]]:
        try:
            gpus = uses_gpu(settings, parsed)
            with on_engine(parsed, lambda: make_encoder(settings, parsed), gpus=gpus) as make:
                yield make
        except ModelError as error:
            if not is_experiments:
                raise
            raise ModelError(
                f"{error.problem} (the experiment names this model)",
                f"{error.remedy}; or name another model with --model (--encoder {BUILT_IN} needs no download)",
            ) from error

    return settings, encoder()
