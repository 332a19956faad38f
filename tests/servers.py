"""Servers for tests: the application in a thread, `lorerm serve` as a process, and a PostgreSQL cluster."""

from __future__ import annotations

import base64
import getpass
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import httpx
import numpy as np
import psycopg
import uvicorn

from lorerm.serving.app import create_app
from lorerm.serving.database import Database
from lorerm.serving.processes import configure

PATIENCE = 120.0
"""Seconds to wait for something that should happen: machines can be busy."""


def until(condition, what: str, patience: float = PATIENCE):
    """Wait until `condition()` is true, and return its value."""
    deadline = time.monotonic() + patience
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.02)
    return value


def prepared(url: str) -> Database:
    """Return a database with its tables, as `lorerm serve` prepares it."""
    with ExitStack() as on_error:
        database = on_error.enter_context(closing(Database(url)))
        database.prepare()
        on_error.pop_all()
    return database


@contextmanager
def running(settings, **client):
    """Run the application in a thread, and give a client for it."""
    prepared(settings.database).close()
    server = uvicorn.Server(configure(create_app(settings), host="127.0.0.1", port=0))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive(), "the server starts")
        assert server.started
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE, **client) as asking:
            yield asking
    finally:
        server.should_exit = True
        thread.join(PATIENCE)


class Process:
    """`lorerm serve` in its own process group. It is ready, or has ended, when this object exists."""

    def __init__(self, *arguments, environment=None) -> None:
        port = [] if "--port" in arguments else ["--port", "0"]
        command = [sys.executable, "-m", "lorerm", "serve", *map(str, arguments), *port]
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by `kill`
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
        )
        line = self._process.stdout.readline()
        address = re.search(r"on (http://\S+)", line)
        self.url = "" if address is None else address[1]  # empty if the server could not start

    def check_ready(self) -> None:
        """Check that the server is ready: it prints its address only then."""
        assert self.url, self.read_log()
        assert httpx.get(f"{self.url}/ready", timeout=PATIENCE).status_code == 200

    @property
    def pid(self) -> int:
        """The first process."""
        return self._process.pid

    def children(self) -> list[int]:
        """Return the processes that the first one started."""
        return children(self.pid)

    def workers(self) -> list[int]:
        """Return the workers among them, without Python's resource tracker."""
        return [pid for pid in self.children() if b"spawn_main" in _command(pid)]

    def status(self, path: str) -> int:
        """Return the status of a response; 0 if there is none."""
        with suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}{path}", timeout=PATIENCE).status_code
        return 0

    def code(self) -> int:
        """Wait until the process ends by itself, and return its exit code."""
        return self._process.wait(PATIENCE)

    def count(self, route: str) -> float:
        """Return how many requests to a route the metrics count; -1 if the route is not in them."""
        text = httpx.get(f"{self.url}/metrics", timeout=60).text
        found = re.search(rf'lorerm_requests_total{{method="GET",route="{route}",status="200"}} (\S+)', text)
        return -1.0 if found is None else float(found[1])

    def read_log(self) -> str:
        """Return standard error so far."""
        self.log.seek(0)
        return self.log.read()

    def kill(self, sign: int = signal.SIGKILL) -> int:
        """Kill all processes, and return the exit code of the first."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, sign)
        code = self._process.wait(PATIENCE)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.stdout.close()
        self.errors = self.read_log()
        self.log.close()
        return code


def _command(pid: int) -> bytes:
    """Return a process's command line; empty if the process has ended."""
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def children(pid: int) -> list[int]:
    """Return the ids of a process's children."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def find_postgresql() -> Path | None:
    """Return the folder of PostgreSQL's programs, or None if they are not installed."""
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).resolve().parent
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return debian[-1].parent if debian else None


class PostgreSQL:
    """A PostgreSQL cluster in a temporary folder, on a socket there; it does not run as root."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._account = "postgres" if os.geteuid() == 0 else None
        self._user = self._account or getpass.getuser()
        self._folder = Path(tempfile.mkdtemp(prefix="lorerm-postgresql-", dir="/tmp"))
        if self._account is not None:
            found = pwd.getpwnam(self._account)
            os.chown(self._folder, found.pw_uid, found.pw_gid)
        self.data = self._folder / "data"
        self._run("initdb", "-D", self.data, "-A", "trust", "-E", "UTF8", "--no-locale", "-N")
        self.start()

    def start(self) -> None:
        """Start the cluster; after a kill it fails until the old processes are gone, so try again."""
        options = f"-c listen_addresses='' -c unix_socket_directories={self._folder} -c max_connections=50"
        self._options = options
        until(self._try_to_start, "PostgreSQL starts")

    def _try_to_start(self) -> bool:
        log = self._folder / "log"
        arguments = ("-D", self.data, "-l", log, "-o", self._options, "-w", "-t", "60", "start")
        return self._run("pg_ctl", *arguments, check=False).returncode == 0

    def url(self, database: str) -> str:
        """Return the URL of a database, which is created if it does not exist."""
        with suppress(psycopg.errors.DuplicateDatabase):
            self.execute(f'CREATE DATABASE "{database}"')
        return f"postgresql://{self._user}@/{database}?host={self._folder}"

    def execute(self, statement: str) -> None:
        """Execute a statement as the superuser."""
        with psycopg.connect(host=str(self._folder), user=self._user, dbname="postgres", autocommit=True) as connection:
            connection.execute(statement)

    def kill(self) -> None:
        """Kill all processes of the cluster."""
        main = int((self.data / "postmaster.pid").read_text().splitlines()[0])
        children = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(main)], capture_output=True, text=True, check=False
        )
        for pid in [main, *map(int, children.stdout.split())]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def files(self) -> list[Path]:
        """Return the cluster's files."""
        return [path for path in self.data.rglob("*") if path.is_file()]

    def remove(self) -> None:
        """Stop the cluster, and remove its files."""
        self._run("pg_ctl", "-D", self.data, "-m", "immediate", "-w", "stop", check=False)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *arguments, check: bool = True):
        command = [str(self._programs / program), *map(str, arguments)]
        # The output goes to a file: the server that `pg_ctl` starts would keep a pipe open.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                command, stdout=output, stderr=output, user=self._account, cwd=self._folder, check=False
            )
            if check and done.returncode:
                output.seek(0)
                raise AssertionError(output.read())
        return done


def post(client: httpx.Client, path: str, **request) -> httpx.Response:
    """Post a body declared as JSON, which may be any bytes."""
    return client.post(path, headers={"Content-Type": "application/json", **request.pop("headers", {})}, **request)


def base64_of(vector) -> str:
    """Return an embedding as base64 of little-endian float32."""
    return base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode()
