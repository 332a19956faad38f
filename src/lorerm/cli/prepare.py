"""Read and validate comparisons, check whether length or format alone reveals the chosen response, and split them."""

from __future__ import annotations

import argparse
from typing import Any

from lorerm.cli.console import progress, say, warn
from lorerm.cli.experiments import add_dataset_options, add_source_arguments, read_source
from lorerm.cli.options import add_options
from lorerm.data.splits import SplitConfig
from lorerm.pipeline import steps
from lorerm.pipeline.folder import RunFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    add_source_arguments(parser)
    add_options(parser, SplitConfig)
    add_dataset_options(parser, revision=True)


def call(parsed: argparse.Namespace) -> None:
    """Prepare the run, and print the sizes of the splits and warnings about the data."""
    source = read_source(parsed)
    with progress() as show:
        found = steps.prepare(RunFolder.create(parsed.out, show), source)
    show_prepared(found)
    say(f"Next: lorerm embed {parsed.out}")


def show_prepared(found: dict[str, Any]) -> None:
    """Print the number of comparisons in each split, and the warnings."""
    from lorerm.reporting.phrases import count

    for line in found.get("reading", ()):
        say(line)
    splits = found["cells"]
    sizes = ", ".join(f"{name} {size['n_pairs']:,} ({count(size['n_users'], 'user')})" for name, size in splits.items())
    in_use = f"{found['n_pairs']:,} of {count(found['n_pairs_read'], 'comparison')} in use"
    say(f"{in_use}: {sizes}")
    warn([*(found["leaks"] or {}).get("warnings", []), *found["warnings"]])
