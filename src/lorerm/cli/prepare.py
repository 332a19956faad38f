"""Read preferences, check them, look for leaks, and split them by people and prompts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorerm.cli.console import output, progress, warn
from lorerm.cli.experiments import add_dataset_options, add_recipe_option, keep_recipe, source_options, source_recipe
from lorerm.cli.options import add_options
from lorerm.data.datasets import DATASETS
from lorerm.data.readers import FORMATS
from lorerm.pipeline import steps
from lorerm.pipeline.config import SplitConfig
from lorerm.pipeline.folder import RunFolder

if TYPE_CHECKING:
    import argparse

    from lorerm.pipeline.experiment import Recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_source_arguments(parser)
    add_dataset_options(parser, revision=True)
    add_options(parser, SplitConfig)


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is read and where the run goes."""
    parser.add_argument(
        "source",
        nargs="+",
        help=f"log files or folders ({', '.join(FORMATS)}), or the name of a data set ({', '.join(DATASETS)})",
    )
    parser.add_argument("--out", required=True, type=Path, metavar="RUN", help="the run folder: made, or continued")
    parser.add_argument(
        "--user-column", default="user_id", metavar="NAME", help="the column of the users (default: user_id)"
    )
    add_recipe_option(parser)


def call(parsed: argparse.Namespace) -> None:
    """Do it."""
    prepare(parsed, source_recipe(parsed))
    output().print(f"Next: lorerm embed {parsed.out}", soft_wrap=True)


def prepare(parsed: argparse.Namespace, recipe: Recipe) -> None:
    """Prepare by a recipe, show what was found, and keep the recipe."""
    with progress() as show:
        run = RunFolder.create(parsed.out, show)
        result = steps.prepare(
            run,
            parsed.source,
            SplitConfig(**recipe.split),
            user_column=parsed.user_column,
            options=source_options(parsed, recipe),
        )
    keep_recipe(parsed, recipe)
    tell_prepared(result)


def tell_prepared(result: dict[str, Any]) -> None:
    """Show what was found in the data, and the warnings."""
    from lorerm.reporting.phrases import count

    for line in result.get("reading", ()):
        output().print(line, soft_wrap=True)
    cells = result["cells"]
    words = ", ".join(f"{name} {size['n_pairs']:,} ({count(size['n_users'], 'user')})" for name, size in cells.items())
    in_use = f"{result['n_pairs']:,} of {count(result['n_pairs_read'], 'pair')} in use"
    output().print(f"{in_use}: {words}", soft_wrap=True)
    warn([*(result["leaks"] or {}).get("warnings", []), *result["warnings"]])
