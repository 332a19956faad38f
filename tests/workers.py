"""Worker processes for the tests of the supervisor, which can import this module because it is beside conftest.py."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path


def work(heartbeat, folder: Path) -> None:
    """Be ready at once, and note in the folder when the process starts, may serve, and is asked to end.

    Files in the folder change this: `broken` makes the process end before it is ready, after the number of seconds in
    the file, and `brief` makes it end when it is ready.
    """
    if (folder / "broken").exists():
        time.sleep(float((folder / "broken").read_text() or 0))
        sys.exit(3)
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    (folder / f"{os.getpid()}.started").touch()
    heartbeat.send()
    if (folder / "brief").exists():
        sys.exit(4)
    while not heartbeat.may_serve():
        time.sleep(0.01)
    (folder / f"{os.getpid()}.served").touch()
    while not stopping:
        heartbeat.send()
        time.sleep(0.02)
    (folder / f"{os.getpid()}.finished").touch()
