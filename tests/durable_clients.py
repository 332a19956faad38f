"""Clients that send comparisons to a server whose processes are killed, and the account of what became of them."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter

import httpx
from sqlalchemy import select

from lorerm.serving.database import Database, updates
from servers import PATIENCE, Process, base64_of, until

USERS = 4  # some clients share a user


class Writer(threading.Thread):
    """A client that sends comparisons until it is stopped."""

    def __init__(self, number: int, url_now, row) -> None:
        super().__init__(daemon=True)
        self.user = f"user {number % USERS}"
        self._number, self._url_now = number, url_now
        self._comparison = {"chosen": {"embedding": row}, "rejected": {"embedding": base64_of([0.0] * 808)}}
        self.acknowledged: list[str] = []
        self.tried = 0
        self.version = 0  # of the user, in the last response
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
                if (version := response.json()["version"]) <= self.version:
                    self.wrong.append(f"version {version} after version {self.version}")
                self.version = version
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

    def __init__(self, folder, url, workers: int, clients: int = 6, options=()) -> None:
        self._arguments = (folder, "--database", url, "--embeddings-only", "--workers", workers, *options)
        self._database = url
        self.server = Process(*self._arguments)
        self.server.check_ready()
        rng = random.Random(0)  # noqa: S311
        self.rows = rows = [[rng.gauss(0, 0.05) for _ in range(808)] for _ in range(clients)]
        self.writers = [Writer(n, lambda: self.server.url, base64_of(rows[n])) for n in range(clients)]

    def begin(self) -> None:
        """Start the clients."""
        for writer in self.writers:
            writer.start()

    def written(self) -> int:
        """Return how many comparisons were acknowledged so far."""
        return sum(len(writer.acknowledged) for writer in self.writers)

    def wait_for_more(self, more: int = 6) -> None:
        """Wait until further comparisons are acknowledged."""
        before = self.written()
        until(lambda: self.written() >= before + more or self.wrong(), "comparisons are acknowledged")
        assert self.wrong() == []

    def wrong(self) -> list[str]:
        """Return the responses that the clients should not have got."""
        return [text for writer in self.writers for text in writer.wrong]

    def kill_and_start(self) -> None:
        """Kill all processes of the server, and start it again."""
        self.server.kill()
        self.server = Process(*self._arguments)

    def end(self) -> None:
        """Stop the clients when their current request is done."""
        for writer in self.writers:
            writer.stop.set()
        for writer in self.writers:
            writer.join(2 * PATIENCE)

    def judge(self) -> str:
        """Compare what was acknowledged with what is stored, and return a line of figures."""
        assert self.wrong() == []
        acknowledged = {(writer.user, key) for writer in self.writers for key in writer.acknowledged}
        database = Database(self._database)
        stored = Counter(map(tuple, database.read(select(updates.c.user_id, updates.c.key))))
        database.close()
        lost = acknowledged - set(stored)
        twice = {key for key, times in stored.items() if times > 1}
        failures = sum((writer.failures for writer in self.writers), Counter())
        line = (
            f"{len(acknowledged)} acknowledged comparisons, {sum(w.tried for w in self.writers)} requests "
            f"({dict(failures)} failed): {len(lost)} lost, {len(twice)} twice"
        )
        assert not lost, line
        assert not twice, line
        assert set(stored) == acknowledged, line
        for user in {writer.user for writer in self.writers}:
            n = sum(owner == user for owner, _ in acknowledged)
            found = httpx.get(f"{self.server.url}/v1/users/{user}", timeout=PATIENCE)
            assert (found.status_code, found.json().get("answers"), found.json().get("version")) == (200, n, n), line
        return line
