"""Measure the server's speed under load, compared with an empty FastAPI route, and its memory over many requests.

    python benchmarks/serving.py load RUN      # the tables
    python benchmarks/serving.py soak RUN      # memory over 200,000 requests

RUN is a run folder or a saved model with the built-in encoder, as `lorerm demo --out RUN` makes it. The server runs on
core 0 with one worker; this process, which sends the requests, runs on core 1. A client is a connection that sends the
next request as soon as it has the response to the one before. Each route is measured for a few seconds in each of
several rounds, so that other work on the machine affects all routes alike.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import itertools
import json
import os
import platform
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import uvloop

CLIENTS = (1, 16, 64)
DOCUMENTS = 10
_POOL = 64
_USERS, _USERS_OF_SOAK = 2_000, 200
_AGAIN = (b"408", b"503", b"504")
_WORDS = (
    "brief",
    "clear",
    "careful",
    "warm",
    "plain",
    "soup",
    "garden",
    "speech",
    "letter",
    "engine",
    "budget",
    "river",
)

EMPTY_APP = """
from fastapi import FastAPI, Request, Response

app = FastAPI(openapi_url=None)


@app.get("/empty")
async def empty():
    return {}


@app.post("/empty")
async def empty_with_body(request: Request):
    await request.body()
    return {}
"""


# The load generator


def whole(buffer: bytearray) -> int | None:
    """Return the length of the first message in a buffer, or None if the message is incomplete."""
    head = buffer.find(b"\r\n\r\n")
    if head < 0:
        return None
    found = re.search(rb"content-length: (\d+)", bytes(buffer[:head]), re.IGNORECASE)
    length = head + 4 + (int(found[1]) if found else 0)
    return length if len(buffer) >= length else None


class Connection(asyncio.Protocol):
    """One client: sends a request, waits for the complete response, records the time, and sends the next request."""

    def __init__(self, requests: Iterator[bytes], deadline: float, measured: Measured) -> None:
        self.requests, self.deadline, self.measured = requests, deadline, measured
        self.done = asyncio.get_running_loop().create_future()
        self.buffer, self.waiting = bytearray(), False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self.transport = transport
        self.send()

    def send(self, again: bytes | None = None) -> None:
        """Send `again` if it is given, else the next request. Close if the time is over or no request is left."""
        request = again or (next(self.requests, None) if time.perf_counter() < self.deadline else None)
        if request is None:
            self.transport.close()
            return
        self.request, self.waiting, self.started = request, True, time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """When the response is complete, record its time and status, and send the next request."""
        self.buffer += data
        length = whole(self.buffer)
        if length is None:
            return
        self.waiting = False
        self.measured.seconds.append(time.perf_counter() - self.started)
        status = bytes(self.buffer[9:12])
        self.measured.reply = length
        if status in _AGAIN:
            self.measured.again += 1
        elif not status.startswith(b"2"):
            self.measured.failures.append(bytes(self.buffer[:length]))
        del self.buffer[:length]
        self.send(self.request if status in _AGAIN else None)

    def connection_lost(self, error: Exception | None) -> None:
        """Mark this client as done. Record a failure if the server closed the connection or a response is missing."""
        if error is not None or self.waiting:
            self.measured.failures.append(repr(error or "closed before the reply").encode())
        if not self.done.done():
            self.done.set_result(None)


@dataclass
class Measured:
    """Measurements of one route."""

    seconds: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    work: list[float] = field(default_factory=list)
    """CPU seconds of the server per request, one value for each round"""
    failures: list[bytes] = field(default_factory=list)
    again: int = 0
    """number of responses that asked the client to repeat the request"""
    reply: int = 0

    def row(self, name: str, base: Measured | None) -> str:
        """Return the route's row of the table; `base` are the measurements of the empty route with equal requests."""
        p50, p99 = np.percentile(np.array(self.seconds) * 1000, [50, 99])
        shares = ["", ""]
        if base is not None:  # ratios within each round, in which other work slows both routes
            shares = [
                f"{np.median(np.array(self.rates) / base.rates):.2f}",
                f"{np.median(np.array(base.work) / self.work):.2f}",
            ]
        cells = [name, f"{np.median(self.rates):,.0f}", shares[0], f"{p50:.2f}", f"{p99:.2f}"]
        return f"| {' | '.join([*cells, f'{np.median(self.work) * 1e3:.3f}', shares[1]])} |"


async def drive(at: Server, requests: Iterator[bytes], clients: int, seconds: float, measured: Measured) -> None:
    """Send requests from a number of clients for a number of seconds, and add the measurements to `measured`."""
    loop = asyncio.get_running_loop()
    before, worked, started = len(measured.seconds), at.cpu_seconds(), time.perf_counter()
    made = [
        await loop.create_connection(lambda: Connection(requests, started + seconds, measured), "127.0.0.1", at.port)
        for _ in range(clients)
    ]
    await asyncio.gather(*(protocol.done for _, protocol in made))
    n = len(measured.seconds) - before
    measured.rates.append(n / (time.perf_counter() - started))
    measured.work.append((at.cpu_seconds() - worked) / n)
    if measured.failures:
        raise SystemExit(f"a request failed: {measured.failures[0].decode(errors='replace')}")


def request(method: str, path: str, body: dict[str, object] | None = None) -> bytes:
    """Return the bytes of a request (HTTP/1.1, so that the connection stays open)."""
    if body is None:
        return head(method, path)
    content = json.dumps(body).encode()
    return head(method, path, len(content)) + content


def head(method: str, path: str, length: int | None = None) -> bytes:
    """Return the bytes of a request before its body."""
    lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1"]
    if length is not None:
        lines += ["content-type: application/json", f"content-length: {length}"]
    return "\r\n".join([*lines, "", ""]).encode()


# The requests


class Requests:
    """Endless generators of requests of every kind. Requests that can be repeated are built in advance."""

    def __init__(self, dimension: int, users: int) -> None:
        self.users, self.rng = users, np.random.default_rng(0)
        vectors = self.rng.standard_normal((_POOL * DOCUMENTS, dimension)).astype(np.float32)
        vectors *= 10 / np.linalg.norm(vectors, axis=1, keepdims=True)
        self.packed = [{"embedding": base64.b64encode(row.tobytes()).decode()} for row in vectors]
        self.lists = [{"embedding": [round(float(x), 6) for x in row]} for row in vectors]

    def user(self) -> str:
        """Draw the id of one of the users whose comparisons are sent."""
        return f"load-{self.rng.integers(self.users)}"

    def empty(self) -> Iterator[bytes]:
        """Yield GET requests to the empty route."""
        made = request("GET", "/empty")
        while True:
            yield made

    def empty_with(self, of: Callable[[], Iterator[bytes]]) -> Iterator[bytes]:
        """Yield POST requests to the empty route, with the bodies of the requests of another generator."""
        for made in of():
            body = made.partition(b"\r\n\r\n")[2]
            yield head("POST", "/empty", len(body)) + body

    def rerank(self, documents: list[dict[str, object]] | None = None) -> Iterator[bytes]:
        """Yield requests to rerank ten documents, given as embeddings (by default in base64), for one of the users."""
        documents = documents or self.packed
        pool = [
            request(
                "POST",
                "/v1/rerank",
                {"user": f"load-{place}", "population": True, "documents": documents[at : at + DOCUMENTS]},
            )
            for place, at in enumerate(range(0, len(documents), DOCUMENTS))
        ]
        while True:
            yield from pool

    def rerank_lists(self) -> Iterator[bytes]:
        """Yield the requests of `rerank` with embeddings as lists of numbers."""
        return self.rerank(self.lists)

    def answers(self) -> Iterator[bytes]:
        """Yield requests that add one comparison, given as embeddings, to a random user."""
        while True:
            chosen, rejected = self.rng.choice(len(self.packed), 2, replace=False)
            answer = {"chosen": self.packed[chosen], "rejected": self.packed[rejected]}
            yield request("PUT", f"/v1/users/{self.user()}/answers", {"answers": [answer]})

    def text(self) -> str:
        """Return a new text of 60 words."""
        words = (_WORDS[place] for place in self.rng.integers(len(_WORDS), size=59))
        return " ".join([str(self.rng.integers(10**9)), *words])

    def new_text(self) -> Iterator[bytes]:
        """Yield requests to rerank ten texts that were not sent before."""
        while True:
            yield self._rerank_text([self.text() for _ in range(DOCUMENTS)])

    def known_text(self) -> Iterator[bytes]:
        """Yield requests to rerank ten of a few hundred texts, which the server caches at their first use."""
        pool = [self._rerank_text([self.text() for _ in range(DOCUMENTS)]) for _ in range(_POOL)]
        while True:
            yield from pool

    def _rerank_text(self, texts: list[str]) -> bytes:
        asked = {"user": self.user(), "population": True, "query": "Tell me something.", "documents": texts}
        return request("POST", "/v1/rerank", asked)

    def soak(self, total: int) -> Iterator[bytes]:
        """Yield a mixture of all kinds of requests.

        A user with twenty comparisons is deleted, so that the size of the database stays bounded.
        """
        answered: dict[str, int] = {}
        kinds = {"rerank": self.rerank(), "text": self.new_text(), "answers": self.answers()}
        for kind in self.rng.choice(list(kinds), size=total, p=[0.6, 0.1, 0.3]):
            made = next(kinds[kind])
            if kind == "answers":
                user = made.split(b"/", 4)[3].decode()
                answered[user] = answered.get(user, 0) + 1
                if answered[user] > 20:
                    answered[user] = 0
                    made = request("DELETE", f"/v1/users/{user}")
            yield made


# The servers


def free_port() -> int:
    """Return a port that is not in use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """A running server process."""

    port: int
    process: subprocess.Popen[bytes]

    def _pids(self) -> list[int]:
        pids = [self.process.pid]
        for pid in pids:
            children = Path(f"/proc/{pid}/task/{pid}/children")
            pids += [int(child) for child in children.read_text().split()] if children.exists() else []
        return pids

    def cpu_seconds(self) -> float:
        """Return the CPU time of the process and its children so far, in seconds."""
        ticks = 0
        for pid in self._pids():
            after_the_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(after_the_name[11]) + int(after_the_name[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """Return the resident memory of the process and its children, in MB."""
        sizes = (re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()) for pid in self._pids())
        return sum(int(found[1]) for found in sizes if found) / 1024


@contextlib.contextmanager
def listening(core: int, command: list[str], port: int, log: Path) -> Iterator[Server]:
    """Start a server on one core, wait until it answers, and end it after the `with` block."""
    if hasattr(os, "sched_setaffinity"):
        command = ["taskset", "-c", str(core), *command]
    with log.open("wb") as lines:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, env=environment, stdout=lines, stderr=lines)
        try:
            for _ in range(600):
                if process.poll() is not None:
                    raise SystemExit(f"the server ended: {log.read_text(errors='replace')[-2000:]}")
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 60) as probe:
                    probe.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    if probe.recv(1):
                        break
                time.sleep(0.1)
            yield Server(port, process)
        finally:
            process.terminate()
            process.wait(30)


@contextlib.contextmanager
def servers(model: Path, database: str, folder: Path, *options: str) -> Iterator[tuple[Server, Server]]:
    """Start the server and the empty application, each with one worker on core 0."""
    (folder / "empty_app.py").write_text(EMPTY_APP, encoding="utf-8")
    port, empty_port = free_port(), free_port()
    serve = [sys.executable, "-m", "lorerm", "serve", str(model), "--port", str(port), "--database", database]
    serve += options
    bare = [sys.executable, "-m", "uvicorn", "--app-dir", str(folder), "empty_app:app", "--port", str(empty_port)]
    bare += ["--no-access-log", "--log-level", "warning", "--no-server-header", "--limit-concurrency", "1000"]
    with (
        listening(0, serve, port, folder / "serve.log") as server,
        listening(0, bare, empty_port, folder / "empty.log") as empty,
    ):
        yield server, empty


class Canned(asyncio.Protocol):
    """Minimal server with one fixed response, to measure how many requests per second the load generator can send."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with an empty buffer."""
        self.transport, self.buffer = transport, bytearray()

    def data_received(self, data: bytes) -> None:
        """Respond when the request is complete."""
        self.buffer += data
        length = whole(self.buffer)
        if length is not None:
            del self.buffer[:length]
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")


async def canned(port: int) -> None:
    """Serve fixed responses on a port until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Canned, "127.0.0.1", port)
    await server.serve_forever()


# The two measurements

EMPTY_WITH_BODY = "**empty route, POST of the body of rerank**"
EMPTY_WITH_LISTS = "empty route, POST of the same as lists"
# For each route, the empty route that gets the same bodies.
BASE = {
    "**rerank, 10 embeddings in base64**": EMPTY_WITH_BODY,
    "rerank, 10 embeddings as lists of numbers": EMPTY_WITH_LISTS,
}


def load(server: Server, empty: Server, requests: Requests, seconds: float, rounds: int) -> None:
    """Measure every route with each number of clients, and print the tables."""
    base64_name, lists_name = BASE
    routes: dict[str, tuple[Server, Iterator[bytes]]] = {
        "empty route, GET": (empty, requests.empty()),
        EMPTY_WITH_BODY: (empty, requests.empty_with(requests.rerank)),
        base64_name: (server, requests.rerank()),
        EMPTY_WITH_LISTS: (empty, requests.empty_with(requests.rerank_lists)),
        lists_name: (server, requests.rerank_lists()),
        "rerank, 10 texts known to the cache": (server, requests.known_text()),
        "rerank, 10 new texts": (server, requests.new_text()),
        "feedback, one pair of embeddings": (server, requests.answers()),
    }
    sizes = {name: len(next(made)) for name, (_, made) in routes.items()}
    ceiling_port = free_port()
    canned = [sys.executable, __file__, "canned", str(ceiling_port)]
    for clients in CLIENTS:
        measured, ceiling = {name: Measured() for name in routes}, Measured()
        with listening(0, canned, ceiling_port, Path(os.devnull)) as answering:
            uvloop.run(drive(answering, requests.rerank(), clients, seconds, ceiling))
        for _ in range(rounds):
            for name, (at, made) in routes.items():
                uvloop.run(drive(at, made, clients, seconds, measured[name]))
        most = f"{ceiling.rates[0]:,.0f} a second"
        print(f"\n{clients} client{'s' if clients > 1 else ''}; the load generator reaches {most}\n")
        print("| route | requests a second | share of the empty | p50, ms | p99, ms | CPU, ms | share by CPU |")
        print("|---|---|---|---|---|---|---|")
        for name, found in measured.items():
            print(found.row(name, measured[BASE[name]] if name in BASE else None))
    print("\n| route | bytes sent | bytes of the reply |\n|---|---|---|")
    for name, size in sizes.items():
        print(f"| {name.strip('*')} | {size:,} | {measured[name].reply:,} |")


def soak(server: Server, requests: Requests, total: int, clients: int) -> None:
    """Send a mixture of requests, and print the server's memory after each tenth of them."""
    print(f"\n{total:,} requests from {clients} clients: 60% rerank of embeddings, 10% of new texts, 30% feedback;")
    print("a user with 20 comparisons is deleted; --cache 32\n")
    print("| requests | memory, MB | requests a second | sent again |\n|---|---|---|---|")
    print(f"| 0 | {server.memory():.1f} | | |", flush=True)
    made, measured, parts = requests.soak(total), Measured(), 10
    for part in range(1, parts + 1):
        some = itertools.islice(made, total // parts)
        uvloop.run(drive(server, some, clients, 1e9, measured))
        print(
            f"| {part * total // parts:,} | {server.memory():.1f} | {measured.rates[-1]:,.0f} | {measured.again} |",
            flush=True,
        )


def dimension_of(model: Path) -> int:
    """Return the embedding dimension D of the served model."""
    from safetensors import safe_open

    files = sorted(model.rglob("model.safetensors"))
    with safe_open(files[0], framework="numpy") as tensors:
        return int(tensors.get_slice("basis").get_shape()[0])


def main() -> None:
    """Do the measurement that the arguments select."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["load", "soak", "canned"])
    parser.add_argument("model", help="a run folder or a saved model")
    parser.add_argument("--database", help="URL of the database (default: an SQLite file in a temporary folder)")
    parser.add_argument("--seconds", type=float, default=2.0, help="seconds for each route in each round (default: 2)")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds (default: 5)")
    parser.add_argument("--requests", type=int, default=200_000, help="number of requests of `soak` (default: 200,000)")
    parsed = parser.parse_args()
    if parsed.what == "canned":
        uvloop.run(canned(int(parsed.model)))
        return
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {1})
    from importlib.metadata import version

    names = ("fastapi", "uvicorn", "pydantic", "sqlalchemy", "torch")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    print(f"{platform.machine()}, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} before")
    print(f"Python {platform.python_version()}, {versions}")
    model = Path(parsed.model)
    requests = Requests(dimension_of(model), _USERS if parsed.what == "load" else _USERS_OF_SOAK)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database = parsed.database or f"sqlite:///{folder / 'load.sqlite'}"
        # A small cache is full early. If memory grows after that, the cache is not the reason.
        options = ("--cache", "32") if parsed.what == "soak" else ()
        with servers(model, database, folder, *options) as (server, empty):
            if parsed.what == "load":
                load(server, empty, requests, parsed.seconds, parsed.rounds)
            else:
                soak(server, requests, parsed.requests, 16)


if __name__ == "__main__":
    main()
