"""Write a file completely or not at all."""

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
    """Yield a temporary path to write to, and replace the target by that file when the block ends without an error.

    The temporary file is in the target's folder. Its name begins with a dot, contains `.partial` and has the target's
    suffix, from which some writers choose the format. It is flushed to disk before it replaces the target. If the block
    raises an error, the temporary file is removed, and the target stays as it was.

    Parameters
    ----------
    target
        The file to write; its folder must exist.

    Yields
    ------
    pathlib.Path
        The path to write to, which does not exist yet.

    Raises
    ------
    RunError
        The file cannot be written, for instance because the disk is full or the folder is missing or not writable.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with atomic_path(folder / "number.txt") as temporary:
    ...     _ = temporary.write_text("42")
    >>> (folder / "number.txt").read_text()
    '42'
    """
    target = Path(target)
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(4)}.partial{target.suffix}")
    try:
        yield temporary
        _flush(temporary, os.O_RDWR)
        temporary.replace(target)
        if os.name == "posix":  # on other systems a folder cannot be opened
            _flush(target.parent, os.O_RDONLY)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if _is_out_of_room(error):
            raise RunError(
                f"the file could not be written ({_reason(error)})",
                "free some disk space and run the same command again; finished work is kept",
                file=target,
            ) from error
        if isinstance(error, OSError) and _concerns(error, temporary, target):
            raise RunError(
                f"the file could not be written ({_reason(error)})", _remedy(error, target), file=target
            ) from error
        raise


def _flush(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_out_of_room(error: BaseException) -> bool:
    """Return whether the disk or quota is full; libraries in Rust or C++ report that in the message only."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _NO_ROOM
    return isinstance(error, Exception) and any(
        os.strerror(code) in str(error) or f"os error {code})" in str(error) for code in _NO_ROOM
    )


def _concerns(error: OSError, temporary: Path, target: Path) -> bool:
    """Return whether the error is about the file being written, not about another file that the block reads."""
    ours = {str(temporary), str(target), str(target.parent)}
    return error.filename is None or str(error.filename) in ours


def _reason(error: BaseException) -> str:
    strerror = getattr(error, "strerror", None)
    return str(strerror or first_line(error))


def _remedy(error: OSError, target: Path) -> str:
    if isinstance(error, IsADirectoryError):
        return "a folder has that name: move it, or write to another path"
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return f"make the folder {target.parent} first"
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return f"allow writing in the folder {target.parent}, or choose another folder"
    return "check the disk and run the same command again; finished work is kept"
