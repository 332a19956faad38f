"""Remove users from every file of a run: weights, comparisons, and the responses that only they compared.

The basis was fitted to all users together: their share in it stays until the run is trained again. Results that
include them are removed: `lorerm report`, `lorerm shots` and `lorerm rewardbench` make them again. If this command is
interrupted, every other verb refuses the run until `lorerm forget RUN` has finished.
"""

from __future__ import annotations

import argparse

from lorerm.cli.console import say
from lorerm.cli.options import add_run_argument
from lorerm.pipeline.folder import RunFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_run_argument(parser)
    parser.add_argument(
        "--user",
        default=[],
        nargs="+",
        metavar="ID",
        help="the users to forget; may be left out to finish an interrupted command",
    )


def call(parsed: argparse.Namespace) -> None:
    """Forget the users and show how much was removed."""
    from lorerm.pipeline.forget import forget
    from lorerm.reporting.phrases import count

    found = forget(RunFolder.open(parsed.run, half_forgotten=True), parsed.user)
    say(
        f"Forgot {count(found.n_users, 'user')} with {count(found.n_comparisons, 'comparison')}, and "
        f"{count(found.n_responses, 'embedding')} of responses that only they compared.",
    )
