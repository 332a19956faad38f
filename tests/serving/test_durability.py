"""Acknowledged feedback survives `kill -9` of the server and of PostgreSQL, and counts once if it is sent again.

Clients send one comparison after the other with idempotency keys, each when the last one was acknowledged, and repeat
it after any failure. LORERM_KILLS sets the number of kills (see CONTRIBUTING.md); the default tests kill a few times.
"""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress

import pytest

from durable_clients import Trial
from servers import until

KILLS = int(os.environ.get("LORERM_KILLS", "2"))

pytestmark = pytest.mark.slow


@pytest.fixture
def trial(folder):
    """Start trials, whose processes end with the test."""
    trials: list[Trial] = []

    def begin(url, workers=1):
        trials.append(Trial(folder, url, workers))
        trials[-1].begin()
        return trials[-1]

    yield begin
    for each in trials:
        each.end()
        with suppress(ValueError):
            each.server.kill()


def test_killing_the_server(trial, url, show_figures):
    """At random moments."""
    tested = trial(url)
    moments = random.Random(1)  # noqa: S311
    for _ in range(KILLS):
        tested.wait_for_more()
        time.sleep(moments.uniform(0, 0.05))
        tested.kill_and_start()
    tested.wait_for_more()
    tested.end()
    show_figures(f"{KILLS} kills of the server, {tested.judge()}")


def test_a_worker_starts_while_postgresql_is_down(trial, postgresql):
    """It replaces one that was killed, responds with 503, and recovers by itself."""
    tested = trial(postgresql.url(f"away{os.getpid()}"), workers=2)
    tested.wait_for_more()
    postgresql.kill()
    before = set(tested.server.workers())
    for worker in before:
        os.kill(worker, signal.SIGKILL)
    until(lambda: tested.server.status("/health") == 200, "another process answers")
    assert not before & set(tested.server.workers())
    assert tested.server.status("/ready") == 503
    postgresql.start()
    tested.wait_for_more()
    tested.end()
    tested.judge()


def test_killing_postgresql(trial, postgresql, show_figures):
    """The server's two workers stay, respond with 503, and recover by themselves."""
    tested = trial(postgresql.url(f"killed{os.getpid()}"), workers=2)
    moments = random.Random(2)  # noqa: S311
    for _ in range(KILLS):
        tested.wait_for_more()
        time.sleep(moments.uniform(0, 0.05))
        postgresql.kill()
        postgresql.start()
    tested.wait_for_more()
    tested.end()
    show_figures(f"{KILLS} kills of PostgreSQL, {tested.judge()}")
