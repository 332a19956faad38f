"""An acknowledged answer survives `kill -9` at any moment, of the server and of PostgreSQL; sent again, it counts once.

Clients write all the while, each the next answer only when the last one was acknowledged, with a key, and again after
any failure. LORERM_KILLS says how often to kill (see CONTRIBUTING.md); the default tests do it a few times.
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
    """A client that writes answers until it is told to stop."""

    def __init__(self, number: int, url_now, row) -> None:
        super().__init__(daemon=True)
        self.user = f"user {number % USERS}"
        self._number, self._url_now = number, url_now
        self._answer = {"chosen": {"embedding": row}, "rejected": {"embedding": base64_of([0.0] * 808)}}
        self.acknowledged: list[str] = []
        self.tried = 0
        self.failures: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.stop = threading.Event()

    def run(self) -> None:
        """Write, one after the other."""
        with httpx.Client(timeout=40, verify=False) as client:  # noqa: S501 - there is no TLS
            while not self.stop.is_set():
                key = f"client {self._number}, answer {len(self.acknowledged)}"
                if self._write(client, key):
                    self.acknowledged.append(key)

    def _write(self, client: httpx.Client, key: str) -> bool:
        body = {"answers": [self._answer], "idempotency_key": key}
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            self.tried += 1
            try:
                answer = client.put(f"{self._url_now()}/v1/users/{self.user}/answers", json=body)
            except httpx.HTTPError as error:
                self.failures[type(error).__name__] += 1
                time.sleep(0.1)
                continue
            if answer.status_code == 200:
                return True
            self.failures[str(answer.status_code)] += 1
            if answer.status_code != 503:
                self.wrong.append(answer.text)
                return False
            time.sleep(0.02)
        self.wrong.append(f"{key} was not taken in {PATIENCE} s")
        return False


class Trial:
    """A server, those who write to it, and what came of it."""

    def __init__(self, folder, url, workers: int) -> None:
        self._arguments = (folder, "--database", url, "--embeddings-only", "--workers", workers)
        self._database = url
        self.server = Process(*self._arguments)
        self.server.wait_until_ready()
        rng = random.Random(0)  # noqa: S311
        rows = [[rng.gauss(0, 0.05) for _ in range(808)] for _ in range(CLIENTS)]
        self._writers = [Writer(n, lambda: self.server.url, base64_of(rows[n])) for n in range(CLIENTS)]

    def begin(self) -> None:
        """Let the clients write."""
        for writer in self._writers:
            writer.start()

    def written(self) -> int:
        """Return how many answers were acknowledged so far."""
        return sum(len(writer.acknowledged) for writer in self._writers)

    def wait_for_more(self, more: int = CLIENTS) -> None:
        """Wait until answers have been acknowledged since now."""
        before = self.written()
        until(lambda: self.written() >= before + more or self.wrong(), "answers are acknowledged")
        assert self.wrong() == []

    def wrong(self) -> list[str]:
        """Return what the clients were told that they should not have been."""
        return [text for writer in self._writers for text in writer.wrong]

    def kill_and_start(self) -> None:
        """Kill the server with all of its processes, and start it again."""
        self.server.kill()
        self.server = Process(*self._arguments)

    def end(self) -> None:
        """Let the clients finish what they have begun, and stop."""
        for writer in self._writers:
            writer.stop.set()
        for writer in self._writers:
            writer.join(2 * PATIENCE)

    def judge(self) -> str:
        """Compare what was acknowledged with what is kept, and return a line of figures."""
        assert self.wrong() == []
        acknowledged = {(writer.user, key) for writer in self._writers for key in writer.acknowledged}
        database = Database(self._database)
        kept = Counter(map(tuple, database.read(select(updates.c.user_id, updates.c.key))))
        database.close()
        lost = acknowledged - set(kept)
        twice = {key for key, times in kept.items() if times > 1}
        failures = sum((writer.failures for writer in self._writers), Counter())
        line = (
            f"{len(acknowledged)} acknowledged answers, {sum(w.tried for w in self._writers)} requests "
            f"({dict(failures)} failed): {len(lost)} lost, {len(twice)} twice"
        )
        assert not lost, line
        assert not twice, line
        assert set(kept) == acknowledged, line
        for user in {writer.user for writer in self._writers}:
            n = sum(owner == user for owner, _ in acknowledged)
            found = httpx.get(f"{self.server.url}/v1/users/{user}", timeout=PATIENCE)
            assert (found.status_code, found.json().get("answers"), found.json().get("version")) == (200, n, n), line
        return line


@pytest.fixture
def trial(folder):
    """Begin trials, whose processes end with the test."""
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
    """All of its processes, at a moment drawn anew each time."""
    tested = trial(url)
    moments = random.Random(1)  # noqa: S311
    for _ in range(KILLS):
        tested.wait_for_more()
        time.sleep(moments.uniform(0, 0.05))
        tested.kill_and_start()
    tested.wait_for_more()
    tested.end()
    show_figures(f"{KILLS} kills of the server, {tested.judge()}")


def test_a_process_begins_while_postgresql_is_away(trial, postgresql):
    """In place of one that was killed: it says 503, and goes on by itself later."""
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
    """The server's two workers stay, say 503 meanwhile, and go on by themselves."""
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
