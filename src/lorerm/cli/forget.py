"""Remove users from every file of a run: weights, answers, comparisons, and embeddings that were theirs alone.

Their share in the basis, which was fitted to everybody, stays until the run is trained again. What counts them is
removed: `lorerm report`, `lorerm shots` and `lorerm rewardbench` make it again. Where this was cut off, no other verb
takes the run until `lorerm forget RUN` has finished it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lorerm.cli.console import output
from lorerm.pipeline.folder import RunFolder

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("run", type=Path, metavar="RUN", help="the run folder")
    parser.add_argument(
        "--user", default=[], nargs="+", metavar="ID", help="the users to forget; not needed to finish what was cut off"
    )


def call(parsed: argparse.Namespace) -> None:
    """Do it."""
    from lorerm.pipeline.forget import forget
    from lorerm.reporting.phrases import count

    found = forget(RunFolder.open(parsed.run, half_forgotten=True), parsed.user)
    output().print(
        f"Forgot {count(found.n_users, 'user')} with {count(found.n_answers, 'comparison')}, and "
        f"{count(found.n_responses, 'embedding')} that only these were about.",
        soft_wrap=True,
    )
