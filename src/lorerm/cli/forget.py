"""Remove users from every file of a run: weights, comparisons, and the responses that no other user compared.

The reward directions were fitted to all users together, and keep the influence of the removed users until the run is
trained again. Results that include these users are deleted and named, with the commands that compute them again; other
results stay. If this command is interrupted, every other subcommand refuses the run until `lorerm forget RUN` has
finished.
"""

from __future__ import annotations

import argparse

from lorerm.cli.console import say
from lorerm.cli.options import add_run_argument
from lorerm.pipeline.folder import RunFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    add_run_argument(parser)
    parser.add_argument(
        "--user",
        default=[],
        nargs="+",
        metavar="ID",
        help="ids of the users to remove; leave it out to finish an interrupted command",
    )


def call(parsed: argparse.Namespace) -> None:
    """Remove the users, and print how much was removed."""
    from lorerm.pipeline.forget import RESULTS, forget
    from lorerm.reporting.phrases import count

    run = RunFolder.open(parsed.run, half_forgotten=True)
    found = forget(run, parsed.user)
    say(
        f"Removed {count(found.n_users, 'user')}: all weights, {count(found.n_comparisons, 'comparison')} of the run's "
        f"input, and {count(found.n_responses, 'embedding')} of responses that no other user compared.",
    )
    if found.results:
        commands = ", ".join(f"`{RESULTS[name]}`" for name in found.results)
        say(f"Removed results that included them: {', '.join(found.results)}. To make them again: {commands}.")
    elif run.is_finished("report"):
        say("The report does not include them and stays.")
