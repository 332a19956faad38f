"""Lines of the log: text or JSON, with the request's id, and not too many of a kind."""

from __future__ import annotations

import json
import logging

from lorerm.serving import logs
from lorerm.serving.logs import JsonLines, RateLimit, TextLines
from lorerm.serving.request_context import request_id


def record(message="the %s failed", *values, **more):
    return logging.LogRecord("lorerm.serving", logging.ERROR, "file", 1, message, values or ("database",), **more)


def test_a_line_has_time_level_process_and_request():
    token = request_id.set("4f2a")
    try:
        found = json.loads(JsonLines().format(record(exc_info=None)))
        line = TextLines().format(record(exc_info=None))
    finally:
        request_id.reset(token)
    assert (found["level"], found["request"], found["message"]) == ("ERROR", "4f2a", "the database failed")
    assert line == f"{line.split()[0]} ERROR [{found['process']}] 4f2a the database failed"
    assert line.split()[0].endswith("Z")


def test_an_exceptions_message_and_line_breaks_are_left_out():
    """A message can contain what a client sent."""
    error = ValueError("zanzibar")
    line = TextLines().format(record("a\n%s", "b", exc_info=(ValueError, error, None)))
    assert line.endswith("- a b (ValueError)")


def test_messages_of_a_kind_are_limited(monkeypatch):
    limit, now = RateLimit(), [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    written = [limit.filter(record("no %s", number, exc_info=None)) for number in range(logs.MAX_A_MINUTE + 5)]
    assert sum(written) == logs.MAX_A_MINUTE
    assert limit.filter(record("another %s", exc_info=None))
    now[0] = 61.0
    next_one = record("no %s", 1, exc_info=None)
    assert limit.filter(next_one)
    assert "5 such messages were left out" in TextLines().format(next_one)
