"""Exception classes of lorerm. Each error says what is wrong, where, and how to correct it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TypeVar

    E = TypeVar("E", bound="LorermError")


@dataclass(frozen=True)
class Location:
    """Where an error was found. Fields that do not apply are None."""

    file: str | None = None
    """the file or other input, by the name that the user gave"""
    row: int | None = None
    """the number of the row, counted from 1"""
    column: str | None = None
    """the name of the column"""
    argument: str | None = None
    """the name of the argument, option or setting"""


class LorermError(Exception):
    """Base class of errors that the caller can correct.

    The `lorerm` command prints such an error as one line and exits with code 2.

    Parameters
    ----------
    problem
        What is wrong, without a full stop at the end. The text names the column or argument, but not the file or the
        row, which `str()` puts in front.
    remedy
        How to correct it: an imperative, without a full stop at the end.
    file, row, column, argument
        Where the error was found; see `Location`.
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
        """Return a copy of this error with the file and the row (counted from 1) in which it was found."""
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
    """Return the first line of an error's message, or the name of the error's type if the message is empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class DataError(LorermError, ValueError):
    """Raised if feedback, comparisons or embeddings are missing or not valid (see `lorerm.data.schema`)."""


class ConfigError(LorermError, ValueError):
    """Raised if an argument is outside its range, or if two arguments exclude each other."""


class ModelError(LorermError):
    """Raised if a model cannot be loaded, does not fit the encoder, or does not support the operation."""


class UnknownUserError(LorermError, LookupError):
    """Raised if a user is unknown, for instance because the model has no weights for them."""


class RunError(LorermError):
    """Raised if a file or run folder cannot be read or written, or a run cannot be continued."""


class FolderBusyError(RunError):
    """Raised if another process is writing to the folder."""
