"""Write a file atomically: its path has either the complete new content or what was there before."""

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

# The disk is full, the user's quota is used up, or the file is too large for the file system.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """Yield a temporary path to write to; replace the target with that file if the block ends without an error.

    The temporary file is in the target's folder. Its name begins with a dot, contains `.partial` and ends in the
    target's suffix, since some writers choose the format by the suffix. The file is flushed to disk before it replaces
    the target. If the block raises an error, the temporary file is removed, and the target is unchanged.

    Parameters
    ----------
    target
        The file to write. Its folder must exist.

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
                "free some disk space, then try again",
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
    """Return True if the error has one of the causes in `_NO_ROOM`.

    Libraries written in Rust or C++ report the cause only in the error's message.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _NO_ROOM
    return isinstance(error, Exception) and any(
        os.strerror(code) in str(error) or f"os error {code})" in str(error) for code in _NO_ROOM
    )


def _concerns(error: OSError, temporary: Path, target: Path) -> bool:
    """Return True if the error is about the file being written, False if it is about a file that the block reads.

    An error without a file name counts as one about the file being written.
    """
    ours = {str(temporary), str(target), str(target.parent)}
    return error.filename is None or str(error.filename) in ours


def _reason(error: BaseException) -> str:
    strerror = getattr(error, "strerror", None)
    return str(strerror or first_line(error))


def _remedy(error: OSError, target: Path) -> str:
    if isinstance(error, IsADirectoryError):
        return "a folder has this name: rename the folder, or write to another path"
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return f"create the folder {target.parent} first"
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return f"make the folder {target.parent} writable, or choose another folder"
    return "check the disk, then try again"
