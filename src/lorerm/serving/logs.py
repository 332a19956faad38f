"""The server's log: one line for each message, as text or JSON, with time, level and request id.

Messages that repeat too often are left out.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

from lorerm.serving.request_context import request_id

FORMATS = ("text", "json")
MAX_A_MINUTE = 30
"""Maximum number of lines per minute with the same message text (before values are inserted)."""


def configure_logs(style: str) -> None:
    """Write the messages of this package and of uvicorn to standard error. `style` is one of `FORMATS`.

    Only messages of level WARNING and above are written. No message contains anything that a client sent.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(RateLimit())
    handler.setFormatter(JsonLines() if style == "json" else TextLines())
    for name in ("lorerm", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.WARNING)


class RateLimit(logging.Filter):
    """Leaves out a message that was already written `MAX_A_MINUTE` times in this minute.

    The next line with the same message says how many were left out.
    """

    def __init__(self) -> None:
        super().__init__()
        self._minutes: dict[tuple[str, str], tuple[int, int, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the message is written."""
        key, minute = (record.name, str(record.msg)), int(time.monotonic() // 60)
        of, written, left_out = self._minutes.get(key, (minute, 0, 0))
        if of != minute:
            written = 0
        if written >= MAX_A_MINUTE:
            self._minutes[key] = minute, written, left_out + 1
            return False
        if left_out:
            record.left_out = left_out
        self._minutes[key] = minute, written + 1, 0
        return True


class JsonLines(logging.Formatter):
    """Formats a message as a JSON object: time, level, process, request, logger, message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return json.dumps(_fields(record))


class TextLines(logging.Formatter):
    """Formats a message as text: time, level, process, request id, message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        of = _fields(record)
        left_out = f" ({of['left_out']} such messages were left out)" if "left_out" in of else ""
        return f"{of['time']} {of['level']} [{of['process']}] {of['request'] or '-'} {of['message']}{left_out}"


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    made = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    message = record.getMessage()
    if (
        record.exc_info and record.exc_info[0] is not None
    ):  # not the error's message, which can contain a request's data
        message += f" ({record.exc_info[0].__name__})"
    fields = {
        "time": f"{made}.{int(record.msecs):03d}Z",
        "level": record.levelname,
        "process": record.process,
        "request": request_id.get(),
        "logger": record.name,
        "message": " ".join(message.splitlines()),
    }
    left_out = getattr(record, "left_out", 0)
    return {**fields, "left_out": left_out} if left_out else fields
