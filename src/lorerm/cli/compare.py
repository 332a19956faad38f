"""Compare runs: their data, encoders and training methods, and their accuracies on users and prompts they share."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from lorerm.cli.console import say, show_blocks
from lorerm.errors import ConfigError
from lorerm.pipeline.folder import RunFolder
from lorerm.pipeline.studies import compare


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="two or more run folders with a report")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def call(parsed: argparse.Namespace) -> None:
    """Compare the runs, and print the result as tables or as JSON."""
    from lorerm.reporting.terminal import comparison_blocks

    if len(parsed.runs) < 2:
        raise ConfigError("only one run folder was given", "name two or more run folders", argument="runs")
    found = compare([RunFolder.open(path) for path in parsed.runs])
    if parsed.json:
        say(json.dumps(found.to_dict(), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        show_blocks(comparison_blocks(found))
