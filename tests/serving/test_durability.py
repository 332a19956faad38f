"""Acknowledged feedback survives `kill -9` of the server and of PostgreSQL, and counts once if it is sent again.

Clients send one comparison after the other with idempotency keys, each when the last one was acknowledged, and repeat
it after any failure. LORERM_KILLS sets the number of kills (see CONTRIBUTING.md); the default tests kill a few times.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from contextlib import suppress

import httpx
import pytest
from sqlalchemy import select

from lorerm.serving.database import Database, updates
from servers import PATIENCE, Process, base64_of, until

KILLS = int(os.environ.get("LORERM_KILLS", "2"))
CLIENTS, USERS = 6, 4  # some share a user

pytestmark = pytest.mark.slow


class Writer(threading.Thread):
    """A client that sends comparisons until it is stopped."""

    def __init__(self, number: int, url_now, row) -> None:
        super().__init__(daemon=True)
        self.user = f"user {number % USERS}"
        self._number, self._url_now = number, url_now
        self._comparison = {"chosen": {"embedding": row}, "rejected": {"embedding": base64_of([0.0] * 808)}}
        self.acknowledged: list[str] = []
        self.tried = 0
        self.failures: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.stop = threading.Event()

    def run(self) -> None:
        """Send one comparison after the other."""
        with httpx.Client(timeout=40, verify=False) as client:  # noqa: S501 - there is no TLS
            while not self.stop.is_set():
                key = f"client {self._number}, comparison {len(self.acknowledged)}"
                if self._write(client, key):
                    self.acknowledged.append(key)

    def _write(self, client: httpx.Client, key: str) -> bool:
        body = {"answers": [self._comparison], "idempotency_key": key}
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            self.tried += 1
            try:
                response = client.put(f"{self._url_now()}/v1/users/{self.user}/answers", json=body)
            except httpx.HTTPError as error:
                self.failures[type(error).__name__] += 1
                time.sleep(0.1)
                continue
            if response.status_code == 200:
                return True
            self.failures[str(response.status_code)] += 1
            if response.status_code != 503:
                self.wrong.append(response.text)
                return False
            time.sleep(0.02)
        self.wrong.append(f"{key} was not acknowledged in {PATIENCE} s")
        return False


class Trial:
    """A server, its clients, and the comparison of what they sent with what is stored."""

    def __init__(self, folder, url, workers: int) -> None:
        self._arguments = (folder, "--database", url, "--embeddings-only", "--workers", workers)
        self._database = url
        self.server = Process(*self._arguments)
        self.server.check_ready()
        rng = random.Random(0)  # noqa: S311
        rows = [[rng.gauss(0, 0.05) for _ in range(808)] for _ in range(CLIENTS)]
        self._writers = [Writer(n, lambda: self.server.url, base64_of(rows[n])) for n in range(CLIENTS)]

    def begin(self) -> None:
        """Start the clients."""
        for writer in self._writers:
            writer.start()

    def written(self) -> int:
        """Return how many comparisons were acknowledged so far."""
        return sum(len(writer.acknowledged) for writer in self._writers)

    def wait_for_more(self, more: int = CLIENTS) -> None:
        """Wait until further comparisons are acknowledged."""
        before = self.written()
        until(lambda: self.written() >= before + more or self.wrong(), "comparisons are acknowledged")
        assert self.wrong() == []

    def wrong(self) -> list[str]:
        """Return the responses that the clients should not have got."""
        return [text for writer in self._writers for text in writer.wrong]

    def kill_and_start(self) -> None:
        """Kill all processes of the server, and start it again."""
        self.server.kill()
        self.server = Process(*self._arguments)

    def end(self) -> None:
        """Stop the clients when their current request is done."""
        for writer in self._writers:
            writer.stop.set()
        for writer in self._writers:
            writer.join(2 * PATIENCE)

    def judge(self) -> str:
        """Compare what was acknowledged with what is stored, and return a line of figures."""
        assert self.wrong() == []
        acknowledged = {(writer.user, key) for writer in self._writers for key in writer.acknowledged}
        database = Database(self._database)
        stored = Counter(map(tuple, database.read(select(updates.c.user_id, updates.c.key))))
        database.close()
        lost = acknowledged - set(stored)
        twice = {key for key, times in stored.items() if times > 1}
        failures = sum((writer.failures for writer in self._writers), Counter())
        line = (
            f"{len(acknowledged)} acknowledged comparisons, {sum(w.tried for w in self._writers)} requests "
            f"({dict(failures)} failed): {len(lost)} lost, {len(twice)} twice"
        )
        assert not lost, line
        assert not twice, line
        assert set(stored) == acknowledged, line
        for user in {writer.user for writer in self._writers}:
            n = sum(owner == user for owner, _ in acknowledged)
            found = httpx.get(f"{self.server.url}/v1/users/{user}", timeout=PATIENCE)
            assert (found.status_code, found.json().get("answers"), found.json().get("version")) == (200, n, n), line
        return line


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
