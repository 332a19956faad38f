"""The result of loading a data set: comparisons, and a record of the rows that did not become comparisons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from lorerm.data.comparisons import Comparisons

if TYPE_CHECKING:
    from lorerm.data.preferences import Preferences

C = TypeVar("C", bound=Comparisons, covariant=True)


@dataclass(frozen=True)
class Loaded(Generic[C]):
    """Comparisons of a data set, as text or with embeddings, and a record of how they were read."""

    preferences: C
    source: str = ""
    """what was read: a repository at a commit, or local files"""
    reading: tuple[str, ...] = ()
    """one line for each step of the reading: how many rows it left out, why, and how many remain"""
    warnings: tuple[str, ...] = ()
    """warnings about the comparisons, one sentence each, which every report shows"""
    text: Preferences | None = None
    """the comparisons as text, for the leak check (can length or format alone predict the chosen response?); given only
    if `preferences` has embeddings instead of texts, and the data set's files contain the texts"""
    lists_all_responses: bool = False
    """True if the responses are exactly those of the data set's files, in file order, including responses that no
    comparison uses"""
    shares_prompts: bool = False
    """True if train and test share prompts or responses by the design of the data set, so that this is no fault"""


class Tally:
    """Counts of the rows that a loader reads, and of the rows that each of its steps leaves out.

    `unit` is the plural noun for what is counted. `steps` maps the name of each step to the reason for which the step
    leaves rows out; `lines` reports the steps in this order.

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
        """Count rows that the given step leaves out."""
        self._dropped[step] += count

    @property
    def left(self) -> int:
        """Number of rows that remain after all steps."""
        return self._read - sum(self._dropped.values())

    def lines(self) -> tuple[str, ...]:
        """Return one line for the rows read, and one line for each step that left rows out."""
        left = self._read
        lines = [f"{self._unit} read: {left:,}"]
        for step, reason in self._steps.items():
            if count := self._dropped[step]:
                left -= count
                lines.append(f"{count:,} left out, {reason}: {left:,} remain")
        return tuple(lines)
