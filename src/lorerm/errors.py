"""Exceptions of lorerm: each says what is wrong, where, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TypeVar

    E = TypeVar("E", bound="LorermError")


@dataclass(frozen=True)
class Location:
    """Where an error was found; what does not apply is None."""

    file: str | None = None
    """the file or other source, as the user named it"""
    row: int | None = None
    """the row of the file, counted from 1"""
    column: str | None = None
    """the column of the row"""
    argument: str | None = None
    """the argument, option or setting"""


class LorermError(Exception):
    """An error that the caller can correct; the command prints it as one line and exits with code 2.

    Parameters
    ----------
    problem
        What is wrong, without a full stop at its end. It names the column or argument; the file and the row are put
        before it when the error is printed.
    remedy
        What to do about it: an imperative, without a full stop at its end.
    file, row, column, argument
        Where it was found; see `Location`.
    """

    def __init__(
        self,
        problem: str,
        remedy: str,
        *,
        file: str | Path | None = None,
        row: int | None = None,
        column: str | None = None,
        argument: str | None = None,
    ) -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy
        self.location = Location(None if file is None else str(file), row, column, argument)

    def in_row(self: E, file: str | Path, row: int) -> E:
        """Return the same error with the file and the row, counted from 1, in which it was found."""
        return type(self)(
            self.problem,
            self.remedy,
            file=file,
            row=row,
            column=self.location.column,
            argument=self.location.argument,
        )

    def __str__(self) -> str:
        file, row = self.location.file, self.location.row
        where = ", ".join(part for part in (file, None if row is None else f"row {row:,}") if part)
        return ": ".join(part for part in (where, self.problem, self.remedy) if part)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its type where the message is empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class DataError(LorermError, ValueError):
    """Feedback, comparisons or embeddings that violate the data contract."""


class ConfigError(LorermError, ValueError):
    """An argument outside its range, or two arguments that exclude each other."""


class ModelError(LorermError):
    """A reward model, encoder or saved model that cannot do what is asked of it."""


class UnknownUserError(LorermError, LookupError):
    """A user for whom the model has no weights."""


class RunError(LorermError):
    """A run folder that cannot be read, written or continued as asked."""


class FolderBusyError(RunError):
    """A folder that another process is writing to."""
