"""The result of reading a data set: comparisons, and an account of the rows that did not become comparisons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from lorerm.data.comparisons import Comparisons

if TYPE_CHECKING:
    from lorerm.data.preferences import Preferences

C = TypeVar("C", bound=Comparisons, covariant=True)


@dataclass(frozen=True)
class Loaded(Generic[C]):
    """Comparisons of a data set, as text or embedded, and where they came from."""

    preferences: C
    source: str = ""
    """what was read: a repository at a commit, or local files"""
    reading: tuple[str, ...] = ()
    """one line per step of the reading: how many rows it kept, and why it left others out"""
    warnings: tuple[str, ...] = ()
    """sentences about the comparisons that a report must show"""
    text: Preferences | None = None
    """the comparisons as text, for the leak check, where `preferences` are embeddings and the files hold the text"""
    lists_all_responses: bool = False
    """whether row r of the responses is the r-th response of the data set's files, in their order"""


class Tally:
    """Counts of the rows that a loader leaves out, by the step that leaves them out.

    `unit` is the name of what is counted, in the plural; `steps` has the reason of each step, by its name and in order.

    Examples
    --------
    >>> tally = Tally("rows", {"ties": "both responses are the same"})
    >>> tally.add(10)
    >>> tally.drop("ties", 2)
    >>> tally.lines()
    ('rows read: 10', '2 left out, both responses are the same: 8 remain')
    """

    def __init__(self, unit: str, steps: dict[str, str]) -> None:
        self._unit, self._steps = unit, steps
        self._read = 0
        self._dropped = dict.fromkeys(steps, 0)

    def add(self, count: int = 1) -> None:
        """Count rows that were read."""
        self._read += count

    def drop(self, step: str, count: int = 1) -> None:
        """Count rows that a step leaves out."""
        self._dropped[step] += count

    @property
    def left(self) -> int:
        """The number of rows left after all steps."""
        return self._read - sum(self._dropped.values())

    def lines(self) -> tuple[str, ...]:
        """Return one line for the rows read, and one for each step that left some out."""
        left = self._read
        lines = [f"{self._unit} read: {left:,}"]
        for step, reason in self._steps.items():
            if count := self._dropped[step]:
                left -= count
                lines.append(f"{count:,} left out, {reason}: {left:,} remain")
        return tuple(lines)
