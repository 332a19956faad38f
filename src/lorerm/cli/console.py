"""Output of the command: progress and warnings on standard error, results on standard output."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress, TaskID

# Seconds after which another line of progress is printed, and the shortest time (in seconds) to measure a rate over.
_SILENCE, _MEASURABLE = 30.0, 2.0


def output() -> Console:
    """Return the console for results.

    If standard output is not a terminal, lines have 100 characters, as the report's tables need. Markup is off, so that
    square brackets in paths and texts are printed unchanged.
    """
    from rich.console import Console

    class Output(Console):
        """Console that raises an error if the output was closed; rich itself would end the process."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Output(width=None if sys.stdout.isatty() else 100, highlight=False, markup=False, emoji=False)


def show_blocks(blocks: Iterable[RenderableType]) -> None:
    """Print tables and texts on standard output, each after an empty line."""
    console = output()
    for block in blocks:
        console.print()
        console.print(block)


def say(text: str) -> None:
    """Print a result on standard output, without wrapping long lines."""
    output().print(text, soft_wrap=True)


class Display:
    """Progress as lines: at the start of a stage, after each tenth of it, and after 30 seconds without a line."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, int, float]] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Print a line about a stage if it is due."""
        now, tenth = time.monotonic(), 10 * done // total if total else 10
        last_tenth, last_done, last = self._last.get(stage, (-1, done, now))
        if tenth <= last_tenth and now - last < _SILENCE:
            return
        if stage not in self._last or total > 1:
            line = f"{stage}: {done}/{total}" if total > 1 else f"{stage} ..."
            # The rate is measured from the previous line, so that items finished by an interrupted run do not count.
            if 0 <= last_done < done and now - last >= _MEASURABLE:
                rate = (done - last_done) / (now - last)
                line += f", {rate:.3g}/s"
                line += f", {duration((total - done) / rate)} left" if done < total else ""
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()
        self._last[stage] = (tenth, done, now)

    def interrupt(self, show: Callable[[], None]) -> None:
        """Call `show`, which prints a result between two lines of progress."""
        show()


@contextmanager
def progress() -> Iterator[Display]:
    """Yield a display of progress: bars with the time left on a terminal, otherwise lines."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield Display()
        return
    with _bars(console) as bars:
        yield _Bars(bars)


def _bars(console: Console) -> Progress:
    """Return a rich display with one bar per stage."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        """Column with the number of items done per second."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:.3g}/s", style="progress.data.speed")

    return Progress(
        TextColumn("{task.description:<20}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


class _Bars(Display):
    """Progress as one bar per stage."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total)
        self._bars.update(self._tasks[stage], completed=done, total=total)

    def interrupt(self, show: Callable[[], None]) -> None:
        """Stop the current bars, call `show` to print below them, and draw later bars below its output."""
        self._bars.stop()
        while self._tasks:
            self._bars.remove_task(self._tasks.popitem()[1])
        show()
        self._bars.start()


def warn(sentences: Sequence[str]) -> None:
    """Print warnings on standard error, in yellow; warnings about leaks in red."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    for sentence in sentences:
        is_leak = sentence.startswith("LEAK")
        console.print("warning:", printable(sentence), style="bold red" if is_leak else "yellow", soft_wrap=True)


def printable(text: str) -> str:
    """Escape line breaks and other control characters in a text: ids in the data can contain them."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def duration(seconds: float) -> str:
    """Return a duration, given in seconds, as a rounded text with units.

    Examples
    --------
    >>> duration(50.2), duration(430), duration(12_000)
    ('50 s', '7 min', '3 h 20 min')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
