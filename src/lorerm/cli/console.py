"""What the command shows: progress on standard error, results on standard output."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console

# Seconds after which a piped command speaks again, and from which on a rate is worth telling.
_SILENCE, _MEASURABLE = 30.0, 2.0


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
        ProgressColumn,
        Task,
        TaskID,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        """How many of a stage are done in a second."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:.3g}/s", style="progress.data.speed")

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain()
        return
    columns = (
        TextColumn("{task.description:<20}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        Rate(),
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


def duration(seconds: float) -> str:
    """Return a time as people say it: "50 s", "7 min", "3 h 20 min".

    Examples
    --------
    >>> duration(50.2), duration(430), duration(12_000)
    ('50 s', '7 min', '3 h 20 min')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _plain() -> Callable[[str, int, int], None]:
    """Tell the beginning of each stage, every tenth of a long one, and every half minute how fast it goes."""
    told: dict[str, tuple[int, int, float]] = {}

    def show(stage: str, done: int, total: int) -> None:
        now, tenth = time.monotonic(), 10 * done // total if total else 10
        last_tenth, last_done, last = told.get(stage, (-1, done, now))
        if tenth <= last_tenth and now - last < _SILENCE:
            return
        if stage not in told or total > 1:
            line = f"{stage}: {done}/{total}" if total > 1 else f"{stage} ..."
            # What was told last is where the rate counts from: what an earlier run had done took this one no time.
            if 0 <= last_done < done and now - last >= _MEASURABLE:
                rate = (done - last_done) / (now - last)
                line += f", {rate:.3g}/s"
                line += f", {duration((total - done) / rate)} left" if done < total else ""
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()
        told[stage] = (tenth, done, now)

    return show
