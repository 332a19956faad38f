"""Supervisor of worker processes: starts them, replaces those that end or hang, and stops them on a signal."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from lorerm.errors import LorermError, RunError

log = logging.getLogger("lorerm.serving")

# Each worker runs in a new interpreter, because torch's threads do not survive a fork.
_SPAWN = multiprocessing.get_context("spawn")
# All in seconds. A worker ends early if it was ready for less than `_EARLY`. The first worker that ends early is
# replaced at once. If its replacement ends early too, the next one starts after a delay, which doubles from
# `_FIRST_DELAY` to `_MAX_DELAY`.
_EARLY, _FIRST_DELAY, _MAX_DELAY = 10.0, 0.5, 30.0
# Seconds without a sign of life after which a worker is killed. On a busy machine, a long computation delays signs.
_PATIENCE = 60.0
# Seconds after SIGTERM until a worker is killed. Workers let requests finish for 10 s (`processes._GRACE`).
_TIME_TO_STOP = 20.0
_CHECK_INTERVAL = 1.0
# Seconds that a reload waits for the earlier workers to finish their requests. New connections wait in the socket.
_TIME_TO_HAND_OVER = 1.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_OF_TERMINALS = [signal.SIGINT, signal.SIGHUP]


class Heartbeat:
    """Signs of life that a worker sends to its supervisor. The first one says that the worker is ready.

    A worker that is ready waits until the supervisor lets it serve, so that all workers of a new model begin together.
    """

    def __init__(self, connection: Connection, permission: Connection) -> None:
        self._connection, self._permission = connection, permission

    def may_serve(self) -> bool:
        """Return whether the supervisor lets this worker serve."""
        return self._permission.poll()

    def send(self) -> None:
        """Send a sign of life. This takes microseconds and never blocks."""
        # If the supervisor does not read, or has ended, the sign is lost.
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(self._connection.fileno(), b".")

    def prepare(self) -> None:
        """Make the pipe non-blocking, so that `send` does not wait if the pipe is full."""
        os.set_blocking(self._connection.fileno(), False)


class Worker:
    """A worker process, as its supervisor sees it.

    `target` is called in the process with a `Heartbeat` and the arguments. It must be importable.
    """

    def __init__(self, target: Callable[..., object], arguments: Sequence[Any]) -> None:
        self.beats, writer = _SPAWN.Pipe(duplex=False)
        permission, self._permission = _SPAWN.Pipe(duplex=False)
        self.process = _SPAWN.Process(target=_run, args=(target, Heartbeat(writer, permission), arguments))
        # Ctrl+C in a terminal, or closing the terminal, sends a signal to all processes. Only the supervisor may end a
        # worker, so these signals are blocked in workers. A new process inherits the blocked signals from its parent.
        signal.pthread_sigmask(signal.SIG_BLOCK, _OF_TERMINALS)
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _OF_TERMINALS)
            writer.close()
            permission.close()
        self.ready_since: float | None = None
        self._last_beat = time.monotonic()

    def let_serve(self) -> None:
        """Let the worker serve, now or as soon as it is ready."""
        with suppress(OSError):  # raised if the worker has just ended
            self._permission.send_bytes(b".")

    def note_beats(self) -> None:
        """Read the signs of life that have arrived."""
        if self.beats.poll():
            with suppress(OSError):
                if os.read(self.beats.fileno(), 65536):
                    self._last_beat = time.monotonic()
                    self.ready_since = self.ready_since or self._last_beat

    def is_hung(self) -> bool:
        """Return whether a worker that was ready has sent no sign of life for a long time."""
        return self.ready_since is not None and time.monotonic() - self._last_beat > _PATIENCE

    def ended_early(self) -> bool:
        """Return whether the worker, which has ended, was ready for less than `_EARLY` seconds, or never."""
        return self.ready_since is None or time.monotonic() - self.ready_since < _EARLY

    def stop(self) -> None:
        """Ask the process to finish its requests and end."""
        if self.process.is_alive():
            self.process.terminate()

    def close(self) -> None:
        """Kill the process if it still runs, and release its resources."""
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        self.process.close()
        self.beats.close()
        self._permission.close()


class _Slot:
    """One of the supervisor's places for a worker: the worker in it, and when the next worker may start."""

    def __init__(self) -> None:
        self.worker: Worker | None = None
        self.start_at = 0.0
        self.n_early = 0
        self.could_start = True
        """Whether the last worker that ended had become ready."""

    def is_promising(self) -> bool:
        """Return whether the current worker is ready, or the worker before it had become ready."""
        return self.could_start or (self.worker is not None and self.worker.ready_since is not None)

    def note_end(self, worker: Worker) -> float:
        """Remove a worker that has ended; return the delay in seconds until the next worker starts."""
        self.worker, self.could_start = None, worker.ready_since is not None
        self.n_early = self.n_early + 1 if worker.ended_early() else 0
        at_once = self.could_start and self.n_early < 2
        delay = 0.0 if at_once else min(_FIRST_DELAY * 2.0 ** min(self.n_early - 1, 10), _MAX_DELAY)
        self.start_at = time.monotonic() + delay
        return delay


class Supervisor:
    """Keeps a number of workers running until a signal (SIGINT, SIGTERM) ends it.

    A worker that ends is replaced, and the other workers continue. Workers that end early are replaced after growing
    delays.

    SIGHUP starts a reload: new workers start with new arguments. When all new workers are ready, the earlier workers
    stop accepting connections, and the new workers begin. If a new worker cannot start, the earlier workers continue.

    Parameters
    ----------
    target, arguments
        A function that serves until its process gets SIGTERM, and its arguments after the `Heartbeat`.
    n_workers
        The number of workers.
    on_ready, on_stop
        `on_ready` is called once, when the first worker is ready. `on_stop` is called once, before the workers are
        stopped.
    new_arguments
        Function that returns the arguments for the workers of a reload, or raises `LorermError` if nothing can be
        reloaded. None: the arguments stay the same.
    """

    def __init__(
        self,
        target: Callable[..., object],
        arguments: Sequence[Any],
        n_workers: int,
        on_ready: Callable[[], object],
        on_stop: Callable[[], object],
        new_arguments: Callable[[], Sequence[Any]] | None = None,
    ) -> None:
        self._target, self._arguments = target, tuple(arguments)
        self._on_ready, self._on_stop = on_ready, on_stop
        self._slots = [_Slot() for _ in range(n_workers)]
        self._is_ready = False
        self._new_arguments = new_arguments or (lambda: arguments)
        self._asked_to_reload = False
        self._next: list[Worker] = []
        """The new workers, and their arguments, while a reload waits until they are ready."""
        self._next_arguments: tuple[Any, ...] = ()
        self._leaving: list[tuple[Worker, float]] = []
        """Earlier workers that finish their requests after a reload, with the time at which they are killed."""

    def run(self) -> None:
        """Run until a signal. Raises `RunError` if no worker is left, because none of them could start."""
        with _received_signals() as signals:
            try:
                while not self._must_stop(signals):
                    self._start_workers()
                    self._wait(signals)
                    self._note_beats()
                    self._note_ends()
                    self._reload()
            finally:
                self._on_stop()
                self._stop(signals)

    def _must_stop(self, signals: _Signals) -> bool:
        taken = set(signals.take())
        self._asked_to_reload |= signal.SIGHUP in taken
        return bool({signal.SIGINT, signal.SIGTERM} & taken)

    def _start_workers(self) -> None:
        for slot in self._slots:
            if slot.worker is None and time.monotonic() >= slot.start_at:
                slot.worker = Worker(self._target, self._arguments)
                slot.worker.let_serve()

    def _wait(self, signals: _Signals) -> None:
        """Wait for a signal, a sign of life or the end of a worker, but at most `_CHECK_INTERVAL` seconds."""
        workers = [*self._workers(), *self._next]
        wait([signals.reader, *(w.process.sentinel for w in workers), *(w.beats for w in workers)], _CHECK_INTERVAL)

    def _note_beats(self) -> None:
        for worker in [*self._workers(), *self._next]:
            worker.note_beats()
            if worker.is_hung():
                log.error("worker %s does not respond, and is killed", worker.process.pid)
                worker.process.kill()
                worker.process.join()
        if not self._is_ready and any(worker.ready_since is not None for worker in self._workers()):
            self._is_ready = True
            self._on_ready()

    def _note_ends(self) -> None:
        for slot in self._slots:
            worker = slot.worker
            if worker is not None and not worker.process.is_alive():
                pid, code = worker.process.pid, worker.process.exitcode
                delay = slot.note_end(worker)
                worker.close()
                if not self._is_ready:
                    raise RunError("the server could not start", "see the message above")
                log.warning("worker %s ended (%s): another one starts in %g s", pid, _reason(code), delay)
        if not any(slot.is_promising() for slot in self._slots):
            problem = "no worker is left: the workers that should replace them could not start"
            raise RunError(problem, "see the messages above, and start the server again")

    def _reload(self) -> None:
        """Begin or continue a reload, and release earlier workers that have ended or take too long."""
        if self._asked_to_reload and not self._next:
            self._asked_to_reload = False
            try:
                self._next_arguments = tuple(self._new_arguments())
            except LorermError as error:
                log.error("nothing is reloaded: %s", error)  # noqa: TRY400 - no traceback
            else:
                self._next = [Worker(self._target, self._next_arguments) for _ in self._slots]
        elif any(not worker.process.is_alive() for worker in self._next):
            log.error("nothing is reloaded: a new worker could not start; see the message above")
            self._close_next()
        elif self._next and all(worker.ready_since is not None for worker in self._next):
            self._hand_over()
        for worker, deadline in list(self._leaving):
            if not worker.process.is_alive() or time.monotonic() > deadline:
                worker.close()
                self._leaving.remove((worker, deadline))

    def _hand_over(self) -> None:
        """Stop the earlier workers and let the new workers of the reload serve."""
        earlier = self._workers()
        for worker in earlier:
            worker.stop()
        deadline = time.monotonic() + _TIME_TO_HAND_OVER
        while (running := [w.process.sentinel for w in earlier if w.process.is_alive()]) and (
            left := deadline - time.monotonic()
        ) > 0:
            wait(running, left)
        for slot, worker in zip(self._slots, self._next, strict=True):
            slot.worker, slot.n_early, slot.could_start = worker, 0, True
            worker.let_serve()
        self._leaving += [(worker, time.monotonic() + _TIME_TO_STOP) for worker in earlier]
        self._arguments, self._next = self._next_arguments, []
        log.warning("reloaded: %d new workers serve", len(self._slots))

    def _close_next(self) -> None:
        for worker in self._next:
            worker.close()
        self._next = []

    def _workers(self) -> list[Worker]:
        return [slot.worker for slot in self._slots if slot.worker is not None]

    def _stop(self, signals: _Signals) -> None:
        """End all workers. They can finish their requests, unless a second signal arrives or they take too long."""
        self._close_next()
        workers = [*self._workers(), *(worker for worker, _ in self._leaving)]
        for worker in workers:
            worker.stop()
        deadline = time.monotonic() + _TIME_TO_STOP
        while time.monotonic() < deadline and not self._must_stop(signals):
            running = [worker.process.sentinel for worker in workers if worker.process.is_alive()]
            if not running:
                break
            wait([signals.reader, *running], deadline - time.monotonic())
        for worker in workers:
            worker.close()


class _Signals:
    """Signals that have arrived, readable from a pipe so that `wait` can wait for them too."""

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe()
        os.set_blocking(self.reader, False)
        os.set_blocking(self._writer, False)

    def note(self, number: int, _: object) -> None:
        """Handle a signal: write its number to the pipe."""
        with suppress(BlockingIOError):
            os.write(self._writer, bytes([number]))

    def take(self) -> list[int]:
        """Return the numbers of the signals that have arrived since the last call."""
        with suppress(BlockingIOError):
            return list(os.read(self.reader, 4096))
        return []

    def close(self) -> None:
        """Close the pipe."""
        os.close(self.reader)
        os.close(self._writer)


@contextmanager
def _received_signals() -> Iterator[_Signals]:
    """Collect SIGINT, SIGTERM and SIGHUP inside the `with` block, so that they do not end the process."""
    signals = _Signals()
    before = {number: signal.signal(number, signals.note) for number in _SIGNALS}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signals.close()


def _run(target: Callable[..., object], heartbeat: Heartbeat, arguments: Sequence[Any]) -> None:
    """Call the target in a worker process, which ends when its supervisor ends, even if the supervisor is killed."""
    threading.Thread(target=_end_with_supervisor, daemon=True, name="supervisor").start()
    heartbeat.prepare()
    target(heartbeat, *arguments)


def _end_with_supervisor() -> None:
    supervisor = multiprocessing.parent_process()
    assert supervisor is not None  # noqa: S101 - a worker has one
    supervisor.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _reason(code: int | None) -> str:
    """Return why a process ended, from its exit code: a negative exit code is the negative number of a signal."""
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
