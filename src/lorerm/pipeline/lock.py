"""One process at a time writes into a run folder."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lorerm.errors import FolderBusyError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from writing into a folder meanwhile.

    The lock is on the folder itself: it needs no file, and ends with the process, however that ends.

    Raises
    ------
    FolderBusyError
        If another process is writing.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderBusyError(f"another lorerm is writing into {folder}", "wait until it has ended") from None
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(descriptor)
