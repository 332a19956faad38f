"""The server's processes: one or several processes listen on one address and end together."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from dataclasses import replace

import httpx
import pytest

from lorerm.errors import ConfigError, ModelError
from lorerm.serving.processes import check, configure, serve
from refusals import refused
from servers import Process, until


@pytest.fixture
def begin():
    processes = []

    def start(*arguments, **more):
        processes.append(Process(*arguments, **more))
        return processes[-1]

    yield start
    for process in processes:
        with suppress(ValueError):
            process.kill()


def alive(pid):
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        state = subprocess.run(
            ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
        ).stdout
        return bool(state) and not state.startswith("Z")
    return False


def test_other_machines_need_keys(settings):
    for host in ("0.0.0.0", "::", "example.org"):  # noqa: S104
        with refused(ConfigError, host, argument="api-keys"):
            serve(settings, host, 0)


def test_an_address_that_cannot_be_used(settings):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with refused(ConfigError, str(port), argument="port"):
            serve(settings, "127.0.0.1", port)
    with refused(ConfigError, "70000", argument="port"):
        serve(settings, "127.0.0.1", 70_000)


def test_uvicorn_logs_no_paths_and_sends_no_name():
    config = configure("app")
    assert config.access_log is False
    assert config.server_header is False


def test_ctrl_c_ends_the_server(begin, folder, tmp_path):
    """In a terminal it sends a signal to every process of the server."""
    process = begin(folder, "--database", f"sqlite:///{tmp_path / 'a.sqlite'}", "--embeddings-only")
    process.check_ready()
    assert process.kill(signal.SIGINT) == 0
    assert process.errors == ""


def test_a_second_server_on_the_same_port_ends_at_once(begin, folder, tmp_path):
    """Before it opens the database."""
    first = begin(folder, "--database", f"sqlite:///{tmp_path / 'a.sqlite'}", "--embeddings-only")
    first.check_ready()
    port = first.url.rpartition(":")[2]
    second = begin(folder, "--database", f"sqlite:///{tmp_path / 'b.sqlite'}", "--embeddings-only", "--port", port)
    assert second.code() == 2
    second.kill()
    assert len(second.errors.splitlines()) == 1
    assert port in second.errors
    assert not (tmp_path / "b.sqlite").exists()
    first.check_ready()
    os.kill(first.pid, signal.SIGTERM)
    assert first.code() == 0


def test_both_errors_of_the_check_are_raised(settings, tmp_path):
    with refused(ModelError):
        check(replace(settings, path=str(tmp_path)))
    with refused(ConfigError):
        check(replace(settings, database=f"sqlite:///{tmp_path / 'none' / 'a.sqlite'}"))
    check(settings)
    assert list(tmp_path.glob("*.sqlite")) != []


@pytest.mark.slow
def test_workers_count_together_and_end_with_the_first_process(begin, folder, tmp_path):
    """Even if that is killed, and cannot end them."""
    url = f"sqlite:///{tmp_path / 'a.sqlite'}"
    process = begin(folder, "--database", url, "--embeddings-only", "--workers", "2")
    process.check_ready()
    workers = process.children()
    assert len(workers) >= 2
    for _ in range(20):
        httpx.get(f"{process.url}/health", timeout=60).raise_for_status()
    assert process.count("/health") == 20
    killed = process.workers()[0]
    os.kill(killed, signal.SIGKILL)
    until(lambda: len(process.workers()) == 2 and not alive(killed), "another worker starts")
    assert process.count("/health") == 20
    os.kill(process.pid, signal.SIGKILL)
    until(lambda: not any(map(alive, workers)), "the workers end")


def test_an_error_at_the_start_of_a_worker_is_one_line(begin, model, tmp_path):
    from lorerm import HashingEncoder

    other = replace(model, encoder=replace(HashingEncoder().identity, revision="0"))
    other.save_pretrained(tmp_path / "model")
    process = begin(tmp_path / "model", "--database", f"sqlite:///{tmp_path / 'a.sqlite'}")
    assert process.code() == 2
    process.kill()
    assert "Traceback" not in process.errors
    lines = [line for line in process.errors.splitlines() if line.startswith("lorerm: ")]
    assert len(lines) == 2
    assert HashingEncoder().identity.model in lines[0]
