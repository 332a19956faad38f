"""Compare runs: data, models and recipes side by side, and accuracies on the users and prompts that they share."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from lorerm.cli.console import say, show_blocks
from lorerm.errors import ConfigError
from lorerm.pipeline.folder import RunFolder
from lorerm.pipeline.studies import compare


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="two or more run folders with a report")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def call(parsed: argparse.Namespace) -> None:
    """Compare the runs and show the tables, or the JSON."""
    from lorerm.reporting.terminal import comparison_blocks

    if len(parsed.runs) < 2:
        raise ConfigError("one run alone cannot be compared", "name two run folders or more", argument="runs")
    found = compare([RunFolder.open(path) for path in parsed.runs])
    if parsed.json:
        say(json.dumps(found.to_dict(), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        show_blocks(comparison_blocks(found))
