"""What the loader of a data set gives: the pairs, and an account of every row that did not become one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from lorerm.data.preferences import Preferences
    from lorerm.data.shared import SharedPreferences

    AnyPreferences: TypeAlias = "Preferences | SharedPreferences"


class SplitSettings(Protocol):
    """The settings of a split that a data set with a split of its own follows."""

    @property
    def seed(self) -> int:
        """Seed of the random draws."""

    @property
    def unseen_users(self) -> float:
        """Share of the users to hold out."""

    @property
    def test_prompts(self) -> float:
        """Share of the prompts to hold out."""


@dataclass(frozen=True)
class Loaded:
    """The pairs of a data set, and where they came from."""

    preferences: AnyPreferences
    source: str
    """what was read: a repository at a commit, or local files"""
    reading: tuple[str, ...] = ()
    """one line per step: how many rows it kept, and why others went"""
    warnings: tuple[str, ...] = ()
    """what a reader of the results should know"""


class Tally:
    """Counts what a loader leaves out, reason by reason, and tells it in the order of its steps.

    Parameters
    ----------
    unit
        What is counted, in the plural: "rows".
    steps
        Name of each step -> why it leaves something out, in the order in which they are applied.

    Examples
    --------
    >>> tally = Tally("rows", {"ties": "both responses are the same"})
    >>> tally.add(10)
    >>> tally.drop("ties", 2)
    >>> tally.lines()
    ('rows read: 10', '2 left out, both responses are the same: 8 left')
    """

    def __init__(self, unit: str, steps: dict[str, str]) -> None:
        self._unit, self._steps = unit, steps
        self._read = 0
        self._dropped = dict.fromkeys(steps, 0)

    def add(self, count: int = 1) -> None:
        """Count something read."""
        self._read += count

    def drop(self, step: str, count: int = 1) -> None:
        """Count something left out by a step."""
        self._dropped[step] += count

    @property
    def left(self) -> int:
        """How much is left after all steps."""
        return self._read - sum(self._dropped.values())

    def lines(self) -> tuple[str, ...]:
        """Tell what was read, and what each step that left something out kept."""
        left = self._read
        told = [f"{self._unit} read: {left:,}"]
        for step, reason in self._steps.items():
            if count := self._dropped[step]:
                left -= count
                told.append(f"{count:,} left out, {reason}: {left:,} left")
        return tuple(told)
