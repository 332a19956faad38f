"""Attack a server in several ways, and measure its memory and the response time of /health meanwhile.

    python benchmarks/hostile.py RUN               # all attacks, each on a new server with one process
    python benchmarks/hostile.py RUN --only unread

RUN is a run folder or a saved model with the built-in encoder, as `lorerm demo --out RUN` makes it. An attack lasts
until its requests are answered or refused, or for `--seconds`. Meanwhile another client opens a connection ten times a
second, for /health and for a rerank request of two texts in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

Attack = Callable[[int, float, Counter[str]], None]
"""Attack the server at a port until a time (`time.monotonic`), and count what came back."""

CONNECTIONS = 1005  # five more than a process accepts by default
_INTERVAL = 0.1  # seconds between two requests of the client that measures


def request(method: str, path: str, body: dict[str, object] | None = None) -> bytes:
    """Return the bytes of a request."""
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    if content:
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join([*lines, "", ""]).encode() + content


def status_of(port: int, method: str, path: str, body: dict[str, object] | None = None, patience: float = 120) -> str:
    """Send a request on a new connection, and return the status of the response or the type of the error."""
    connection = HTTPConnection("127.0.0.1", port, timeout=patience)
    content = None if body is None else json.dumps(body)
    try:
        connection.request(method, path, content, {"Content-Type": "application/json"} if content else {})
        response = connection.getresponse()
        response.read()
    except (OSError, HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()
    return str(response.status)


# The attacks


@contextmanager
def many_connections(port: int, found: Counter[str]) -> Iterator[list[socket.socket]]:
    """Open `CONNECTIONS` connections, and count those that the server closes in the meantime."""
    opened: list[socket.socket] = []
    try:
        for _ in range(CONNECTIONS):
            with suppress(OSError):
                opened.append(socket.create_connection(("127.0.0.1", port), timeout=5))
        yield opened
    finally:
        for connection in opened:
            connection.close()
        found["connections"] += len(opened)


def unread(port: int, until: float, found: Counter[str]) -> None:
    """Ask for large responses on many connections, and read none of them."""
    asked = request("GET", "/openapi.json") * 500
    with many_connections(port, found) as connections:
        for connection in connections:
            connection.settimeout(0.2)
            with suppress(OSError):
                connection.sendall(asked)
        time.sleep(max(0.0, until - time.monotonic()))


def slow_bodies(port: int, until: float, found: Counter[str]) -> None:
    """Send the body of a request on many connections, one byte every few seconds."""
    head = (
        b"POST /v1/rerank HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n"
    )
    with many_connections(port, found) as connections:
        for connection in connections:
            with suppress(OSError):
                connection.sendall(head)
        while time.monotonic() < until:
            for connection in connections:
                with suppress(OSError):
                    connection.sendall(b" ")
            time.sleep(2)


def large_feedback(port: int, until: float, found: Counter[str]) -> None:
    """Send ten choices among a hundred short texts in each request, for one user: 990 comparisons in 6 KB."""
    choices = [{"prompt": "p", "responses": [f"{i}" for i in range(100)], "chosen": n} for n in range(10)]
    _repeat(port, until, found, 200, "PUT", "/v1/users/greedy/answers", {"answers": choices})


def large_text(port: int, until: float, found: Counter[str]) -> None:
    """Rerank one text of 7 MB."""
    _repeat(port, until, found, 1, "POST", "/v1/rerank", {"query": "q", "documents": ["soup and bread " * 460_000]})


def many_texts(port: int, until: float, found: Counter[str]) -> None:
    """Rerank a thousand new texts of 3,000 characters in each request, four requests at a time."""

    def ask(number: int) -> None:
        texts = [f"{number} {n} " + "soup and bread " * 200 for n in range(1000)]
        found[status_of(port, "POST", "/v1/rerank", {"query": "q", "documents": texts})] += 1

    with ThreadPoolExecutor(4) as threads:
        for number in range(12):
            if time.monotonic() < until:
                threads.submit(ask, number)


def log_lines(port: int, until: float, found: Counter[str]) -> None:
    """Send requests that are no HTTP, one after the other."""
    until = min(until, time.monotonic() + 10)
    while time.monotonic() < until:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"nonsense\r\n\r\n")
            connection.recv(1000)
            found["requests"] += 1


def _repeat(
    port: int, until: float, found: Counter[str], times: int, method: str, path: str, body: dict[str, object]
) -> None:
    def ask(_: int) -> None:
        if time.monotonic() < until:
            found[status_of(port, method, path, body)] += 1

    with ThreadPoolExecutor(40) as threads:
        list(threads.map(ask, range(times)))


ATTACKS: dict[str, Attack] = {
    "unread": unread,
    "slow-bodies": slow_bodies,
    "large-feedback": large_feedback,
    "large-text": large_text,
    "many-texts": many_texts,
    "log-lines": log_lines,
}


# The measurement


class Client(threading.Thread):
    """Client that asks for /health and for a small ranking in turn, and notes the status and the seconds of each."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._port, self._ended = port, threading.Event()
        self.seconds: dict[str, list[float]] = {"/health": [], "/v1/rerank": []}
        self.statuses: dict[str, Counter[str]] = {"/health": Counter(), "/v1/rerank": Counter()}

    def run(self) -> None:
        """Send requests until `stop` is called."""
        while not self._ended.wait(_INTERVAL):
            # New texts each time, which the server has not cached.
            now = time.perf_counter()
            asked = {"query": "What of bread?", "documents": [f"It is good, {now}.", f"Well, {now}."]}
            for path, method, body in (("/health", "GET", None), ("/v1/rerank", "POST", asked)):
                begun = time.perf_counter()
                status = status_of(self._port, method, path, body)
                self.seconds[path].append(time.perf_counter() - begun)
                self.statuses[path][status] += 1

    def stop(self) -> None:
        """Stop after the current request."""
        self._ended.set()
        self.join(130)


@contextmanager
def serving(model: str, *options: str) -> Iterator[tuple[int, int, Path]]:
    """Start a server on a new database, and yield its port, its process id, and the file of its log."""
    with tempfile.TemporaryDirectory() as name, (Path(name) / "log").open("wb") as log:
        command = [sys.executable, "-m", "lorerm", "serve", model, "--port", "0", *options]
        command += ["--database", f"sqlite:///{name}/hostile.sqlite"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            line = process.stdout.readline() if process.stdout else ""
            port = int(line.rpartition(":")[2])
            while status_of(port, "GET", "/ready") != "200":
                time.sleep(0.1)
            yield port, process.pid, Path(name) / "log"
        finally:
            process.kill()
            process.wait()


def memory_of(pid: int) -> float:
    """Return the resident memory of a process and its descendants, in MB."""
    pids, total = [pid], 0
    for each in pids:
        with suppress(OSError):  # it has just ended
            fields = dict(line.split(":", 1) for line in Path(f"/proc/{each}/status").read_text().splitlines())
            total += int(fields.get("VmRSS", "0").split()[0])
            pids += map(int, Path(f"/proc/{each}/task/{each}/children").read_text().split())
    return total / 1024


def measure(name: str, model: str, seconds: float, *options: str) -> str:
    """Do one attack, and return its row of the table."""
    with serving(model, *options) as (port, pid, log):
        for _ in range(20):
            status_of(port, "POST", "/v1/rerank", {"query": "q", "documents": ["a", "b"]})
        before, most, found = memory_of(pid), 0.0, Counter[str]()
        client = Client(port)
        client.start()
        attack = threading.Thread(target=ATTACKS[name], args=(port, time.monotonic() + seconds, found), daemon=True)
        attack.start()
        while attack.is_alive():
            most = max(most, memory_of(pid))
            time.sleep(0.05)
        client.stop()
        cells = [name, f"{before:.0f} to {max(before, most):.0f}"]
        for path in client.seconds:
            took, others = client.seconds[path], client.statuses[path] - Counter({"200": 10**9})
            cells += [f"{1000 * statistics.median(took):.0f}", f"{max(took):.2f}"]
            cells.append(f"{sum(others.values())} of {len(took)} {dict(others) or ''}".strip())
        cells += [f"{log.stat().st_size:,}", ", ".join(f"{key}: {n}" for key, n in sorted(found.items()))]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Measure the attacks that the arguments select."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", help="a run folder or a saved model")
    parser.add_argument("--only", nargs="+", choices=list(ATTACKS), default=list(ATTACKS))
    parser.add_argument("--seconds", type=float, default=60, help="maximum time of an attack (default: 60)")
    parsed, options = parser.parse_known_args()
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    columns = ["attack", "memory, MB", *(f"{of}: median, ms | longest, s | failed" for of in ("/health", "rerank"))]
    print("| " + " | ".join([*columns, "log, bytes", "the attacker's responses"]) + " |\n" + "|---" * 10 + "|")
    for name in parsed.only:
        print(measure(name, parsed.model, parsed.seconds, *options), flush=True)


if __name__ == "__main__":
    main()
