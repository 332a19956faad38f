"""The supervisor replaces workers that end, leaves the others alone, and ends if none can start."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from lorerm.errors import RunError
from lorerm.serving import supervisor
from lorerm.serving.supervisor import Supervisor
from refusals import refused
from servers import children, until
from workers import work


class Supervised:
    """Workers whose supervisor runs in this process, and what happened to them."""

    def __init__(self, folder) -> None:
        self.folder, self.calls, self.errors = folder, [], []

    def run(self, n_workers: int, act=lambda: None) -> None:
        """Supervise workers; when one of them is ready, call `act` in a thread, and then end with SIGTERM."""

        def act_and_end() -> None:
            try:
                act()
            except BaseException as error:
                self.errors.append(error)
            finally:
                if "stop" not in self.calls:
                    os.kill(os.getpid(), signal.SIGTERM)

        acting = threading.Thread(target=act_and_end)

        def on_ready() -> None:
            self.calls.append("ready")
            acting.start()

        try:
            Supervisor(work, (self.folder,), n_workers, on_ready, lambda: self.calls.append("stop")).run()
        finally:
            if acting.ident is not None:
                acting.join()
            assert self.errors == []

    def noted(self, what: str) -> set[int]:
        """Return the processes that noted that they started, or finished."""
        return {int(path.stem) for path in self.folder.glob(f"*.{what}")}

    def wait_for_starts(self, n: int) -> set[int]:
        """Wait until so many processes have started since the beginning, and return them."""
        until(lambda: len(self.noted("started")) >= n, f"{n} workers start")
        return self.noted("started")


@pytest.fixture
def supervised(tmp_path):
    return Supervised(tmp_path)


def test_workers_finish_their_work_at_the_end(supervised):
    supervised.run(2, lambda: supervised.wait_for_starts(2))
    assert supervised.calls == ["ready", "stop"]
    assert len(supervised.noted("finished")) == 2
    assert supervised.noted("finished") == supervised.noted("started")


def test_a_worker_that_ends_is_replaced_and_the_other_is_left_alone(supervised, caplog):
    def kill_one():
        first = supervised.wait_for_starts(2)
        os.kill(min(first), signal.SIGKILL)
        supervised.wait_for_starts(3)

    supervised.run(2, kill_one)
    assert len(supervised.noted("started")) == 3
    assert len(supervised.noted("finished")) == 2
    assert "signal 9" in caplog.text


def test_a_worker_that_cannot_start_ends_the_server_at_the_beginning(supervised):
    (supervised.folder / "broken").touch()
    started = time.monotonic()
    with refused(RunError):
        supervised.run(2)
    assert time.monotonic() - started < supervisor._PATIENCE / 2
    assert supervised.calls == ["stop"]


def test_workers_that_cannot_be_replaced_are_tried_again_later(supervised, monkeypatch, caplog):
    """Until they can start; meanwhile the healthy worker stays."""

    def break_and_repair():
        first = supervised.wait_for_starts(2)
        (supervised.folder / "broken").touch()
        os.kill(min(first), signal.SIGKILL)
        until(lambda: caplog.text.count("exit code 3") >= 2, "two replacements fail")
        assert supervised.noted("started") == first
        (supervised.folder / "broken").unlink()
        supervised.wait_for_starts(3)

    monkeypatch.setattr(supervisor, "_FIRST_DELAY", 0.05)
    supervised.run(2, break_and_repair)
    assert len(supervised.noted("finished")) == 2


def test_the_server_ends_with_an_error_if_no_worker_is_left(supervised):
    def break_and_kill():
        first = supervised.wait_for_starts(2)
        (supervised.folder / "broken").touch()
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        until(lambda: "stop" in supervised.calls, "the supervisor ends")

    with refused(RunError):
        supervised.run(2, break_and_kill)


def test_workers_that_fail_in_turn_do_not_keep_the_server_from_ending(supervised, monkeypatch, caplog):
    """While one of them starts in vain, the other one always waits for its next start, or starts in vain, too."""

    def break_and_kill():
        for pid in supervised.wait_for_starts(2):
            (supervised.folder / "broken").write_text("1")
            os.kill(pid, signal.SIGKILL)
            time.sleep(0.5)
        until(lambda: "stop" in supervised.calls, "the supervisor ends")

    monkeypatch.setattr(supervisor, "_FIRST_DELAY", 0.001)
    monkeypatch.setattr(supervisor, "_MAX_DELAY", 0.001)
    with refused(RunError):
        supervised.run(2, break_and_kill)
    assert caplog.text.count("exit code 3") < 10


def test_workers_that_end_early_are_replaced_after_growing_delays(supervised, monkeypatch, caplog):
    (supervised.folder / "brief").touch()
    monkeypatch.setattr(supervisor, "_FIRST_DELAY", 0.02)
    monkeypatch.setattr(supervisor, "_MAX_DELAY", 0.05)
    supervised.run(1, lambda: supervised.wait_for_starts(6))
    delays = [record.args[-1] for record in caplog.records]
    assert delays[:5] == [0.0, 0.04, 0.05, 0.05, 0.05]


def test_a_worker_that_does_not_respond_is_killed_and_replaced(supervised, monkeypatch, caplog):
    def suspend():
        (worker,) = supervised.wait_for_starts(1)
        os.kill(worker, signal.SIGSTOP)
        supervised.wait_for_starts(2)

    monkeypatch.setattr(supervisor, "_PATIENCE", 1.0)
    supervised.run(1, suspend)
    assert "does not respond" in caplog.text


def test_a_second_signal_ends_workers_at_once(supervised, monkeypatch):
    def suspend_and_end():
        (worker,) = supervised.wait_for_starts(1)
        os.kill(worker, signal.SIGSTOP)  # so that it cannot finish

        os.kill(os.getpid(), signal.SIGTERM)
        until(lambda: "stop" in supervised.calls, "the supervisor ends")
        os.kill(os.getpid(), signal.SIGTERM)

    started = time.monotonic()
    supervised.run(1, suspend_and_end)
    assert time.monotonic() - started < supervisor._TIME_TO_STOP
    assert not {pid for pid in supervised.noted("started") if pid in children(os.getpid())}


def test_handlers_of_signals_are_restored(supervised):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    supervised.run(1)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_a_reload_replaces_all_workers_when_the_new_ones_are_ready(supervised):
    def reload():
        first = supervised.wait_for_starts(2)
        os.kill(os.getpid(), signal.SIGHUP)
        until(lambda: first <= supervised.noted("finished"), "the earlier workers finish")
        both = supervised.wait_for_starts(4)
        until(lambda: len(supervised.noted("served")) == 4, "the new workers serve")
        assert both - first <= supervised.noted("served")

    supervised.run(2, reload)
    assert len(supervised.noted("started")) == 4


def test_a_reload_that_fails_leaves_the_workers_alone(supervised, caplog):
    def reload():
        first = supervised.wait_for_starts(2)
        (supervised.folder / "broken").touch()
        os.kill(os.getpid(), signal.SIGHUP)
        until(lambda: "nothing is reloaded" in caplog.text, "the reload fails")
        assert supervised.noted("finished") == set()
        assert set(children(os.getpid())) >= first

    supervised.run(2, reload)
    assert len(supervised.noted("started")) == 2
