"""What the command shows: progress on standard error, results on standard output."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console


def output() -> Console:
    """Return the console for results; piped, its lines are as wide as the report's tables need.

    Markup is off, so that a path or a text with square brackets is shown as it is.
    """
    from rich.console import Console

    class Output(Console):
        """Leaves a reader that has gone to the command, where rich would end the process."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Output(width=None if sys.stdout.isatty() else 100, highlight=False, markup=False, emoji=False)


@contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """Show one line per stage, with a bar and the time left on a terminal; plain lines when piped."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain()
        return
    columns = (
        TextColumn("{task.description:<20}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield show


def warn(sentences: Sequence[str]) -> None:
    """Show warnings on standard error; those about leaks loudly."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    for sentence in sentences:
        loud = sentence.startswith("LEAK")
        console.print("warning:", printable(sentence), style="bold red" if loud else "yellow", soft_wrap=True)


def printable(text: str) -> str:
    """Return a text as one line without control characters: names in the data can hold any."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def _plain() -> Callable[[str, int, int], None]:
    """Tell the beginning of each stage, and every tenth of a long one."""
    told: dict[str, int] = {}

    def show(stage: str, done: int, total: int) -> None:
        tenth = 10 * done // total if total else 10
        if stage not in told or (tenth > told[stage] and total > 1):
            sys.stderr.write(f"{stage}: {done}/{total}\n" if total > 1 else f"{stage} ...\n")
            sys.stderr.flush()
            told[stage] = tenth

    return show
