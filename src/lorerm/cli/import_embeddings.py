"""Take embeddings made elsewhere: a safetensors matrix of responses, and the comparisons between its rows.

The comparisons are a Parquet, CSV or JSON-lines file with the columns user_id, chosen, rejected (rows of the matrix,
from 0) and optionally prompt_id, weight and split. Without prompt_id the unit that train and test must not share is
the pair of responses.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lorerm.cli.console import output, progress
from lorerm.cli.options import add_options, read_options
from lorerm.cli.prepare import tell_prepared
from lorerm.errors import ConfigError
from lorerm.run import steps
from lorerm.run.config import SplitConfig
from lorerm.run.folder import RunFolder

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="the matrix (.safetensors) and the comparisons"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="RUN", help="the run folder: made, or continued")
    parser.add_argument(
        "--reference",
        type=Path,
        metavar="FILE",
        help="the reward model's head [D], a safetensors file (default: `reference` in the matrix's file)",
    )
    add_options(parser, SplitConfig)


def call(parsed: argparse.Namespace) -> None:
    """Do it."""
    matrices = [path for path in parsed.files if path.suffix == ".safetensors"]
    tables = [path for path in parsed.files if path.suffix != ".safetensors"]
    if len(matrices) != 1 or len(tables) != 1:
        raise ConfigError(
            f"{len(matrices)} safetensors files and {len(tables)} others were given",
            "give one matrix (.safetensors) and one file of comparisons",
        )
    with progress() as show:
        run = RunFolder.create(parsed.out, show)
        split = read_options(parsed, SplitConfig)
        result = steps.import_embeddings(run, matrices[0], tables[0], split, reference=parsed.reference)
    tell_prepared(result)
    output().print(f"Next: lorerm train {parsed.out}", soft_wrap=True)
