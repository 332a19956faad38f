"""Embed every distinct conversation of a prepared run once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorerm.cli.console import output, progress, warn
from lorerm.cli.encoders import add_encoder_options, encoder_settings, make_encoder
from lorerm.cli.engines import add_engine_options, on_engine
from lorerm.run import steps
from lorerm.run.folder import RunFolder

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("run", type=Path, metavar="RUN", help="the run folder")
    add_encoder_options(parser)
    add_engine_options(parser)


def call(parsed: argparse.Namespace) -> None:
    """Do it."""
    with progress() as show:
        done = embed(RunFolder.open(parsed.run, show), parsed)
    warn(done["warnings"])
    output().print(f"Next: lorerm train {parsed.run}", soft_wrap=True)


def embed(run: RunFolder, parsed: argparse.Namespace) -> dict[str, Any]:
    """Embed with the encoder that the options describe."""
    settings = encoder_settings(parsed)
    with on_engine(parsed, lambda: make_encoder(settings, parsed), model=settings["model"]) as make:
        return steps.embed(run, make, settings)
