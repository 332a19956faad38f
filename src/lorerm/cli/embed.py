"""Embed every distinct conversation of a prepared run once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorerm.cli.console import output, progress, warn
from lorerm.cli.encoders import add_encoder_options, encoder_settings, make_encoder
from lorerm.cli.engines import add_engine_options, on_engine
from lorerm.cli.experiments import EMBEDDED, fill_encoder_options
from lorerm.errors import ModelError
from lorerm.pipeline import steps
from lorerm.pipeline.experiment import stored_recipe
from lorerm.pipeline.folder import RunFolder

if TYPE_CHECKING:
    import argparse

    from lorerm.pipeline.experiment import Recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("run", type=Path, metavar="RUN", help="the run folder")
    add_encoder_options(parser)
    add_engine_options(parser)


def call(parsed: argparse.Namespace) -> None:
    """Do it."""
    with progress() as show:
        done = embed(RunFolder.open(parsed.run, show), parsed, stored_recipe(parsed.run))
    warn(done["warnings"])
    output().print(f"Next: lorerm train {parsed.run}", soft_wrap=True)


def embed(run: RunFolder, parsed: argparse.Namespace, recipe: Recipe) -> dict[str, Any]:
    """Embed with the encoder that the options describe, and the recipe where they say nothing."""
    of_recipe = parsed.model is None and "model" in recipe.embed
    fill_encoder_options(parsed, recipe)
    settings = encoder_settings(parsed)
    try:
        with on_engine(parsed, lambda: make_encoder(settings, parsed), model=settings["model"]) as make:
            return steps.embed(run, make, settings)
    except ModelError as error:
        if not of_recipe:
            raise
        raise ModelError(
            f"{error.problem}, the model of the recipe",
            f"{error.remedy}; or give another one with --model (--model {EMBEDDED} needs no download)",
        ) from error
