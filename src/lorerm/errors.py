"""The few exceptions of lorerm: each says what is wrong and what to do about it, in one line."""

from __future__ import annotations


class LorermError(Exception):
    """Anything that the caller can put right; the command prints it as one line and exits with code 2.

    Parameters
    ----------
    problem
        What is wrong, naming the file, row or argument: no full stop at its end.
    remedy
        What to do about it: an imperative, no full stop at its end.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.problem}: {self.remedy}"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, which libraries write over several; its name if there is none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class DataError(LorermError, ValueError):
    """Preferences, embeddings or comparisons that do not keep the data contract."""


class ConfigError(LorermError, ValueError):
    """An argument outside its range, or two that do not go together."""


class ModelError(LorermError):
    """A reward model, encoder or saved model that cannot do what is asked of it."""


class UnknownUserError(LorermError, LookupError):
    """A user whom the model has no weights for."""


class RunError(LorermError):
    """A run folder that cannot be read, written, or continued as asked."""


class FolderBusyError(RunError):
    """A folder that another process is writing into."""
