"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lorerm.errors import RunError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """Give a temporary path to write to, which takes the target's place when the block ends well.

    The temporary file lies beside the target, begins with a dot, has `.partial` in its name and ends as the target
    does, so that a writer may tell the format by the suffix. When the block fails it is removed and the target stays
    as it was. Before the exchange the file is flushed to disk.

    Parameters
    ----------
    target
        The file to write; its folder must exist.

    Yields
    ------
    pathlib.Path
        The path to write to; nothing is there yet.

    Raises
    ------
    RunError
        The file cannot be written: the disk is full, the folder is missing or not writable.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with atomic_path(folder / "answer.txt") as temporary:
    ...     _ = temporary.write_text("42")
    >>> (folder / "answer.txt").read_text()
    '42'
    """
    target = Path(target)
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(4)}.partial{target.suffix}")
    try:
        yield temporary
        _flush(temporary, os.O_RDWR)
        temporary.replace(target)
        if os.name == "posix":  # elsewhere a folder cannot be opened
            _flush(target.parent, os.O_RDONLY)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if _is_out_of_room(error):
            raise RunError(
                f"{target} could not be written ({_reason(error)})",
                "free some disk space and run the same command again: what is finished is kept",
            ) from error
        if isinstance(error, OSError) and _concerns(error, temporary, target):
            raise RunError(f"{target} could not be written ({_reason(error)})", _remedy(error, target)) from error
        raise


def _flush(path: Path, flags: int) -> None:
    """Make sure that what was written to the file or folder is on the disk."""
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_out_of_room(error: BaseException) -> bool:
    """Tell a full disk or quota, also where a library written in Rust or C++ reports it in its message only."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _NO_ROOM
    return isinstance(error, Exception) and any(
        os.strerror(code) in str(error) or f"os error {code})" in str(error) for code in _NO_ROOM
    )


def _concerns(error: OSError, temporary: Path, target: Path) -> bool:
    """Tell whether the error is about the file being written, not about another that the block reads."""
    ours = {str(temporary), str(target), str(target.parent)}
    return error.filename is None or str(error.filename) in ours


def _reason(error: BaseException) -> str:
    """Give the system's own words for the error, else the first line of its message."""
    strerror = getattr(error, "strerror", None)
    return str(strerror or first_line(error))


def _remedy(error: OSError, target: Path) -> str:
    """Say what to do about an error that is not a full disk."""
    if isinstance(error, IsADirectoryError):
        return "a folder of that name is in the way: move it, or write elsewhere"
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return f"make the folder {target.parent} first"
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return f"allow writing in the folder {target.parent}, or choose another"
    return "check the disk and run the same command again: what is finished is kept"
