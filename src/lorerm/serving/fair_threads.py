"""Threads shared fairly by clients: no client can use all of them, and waiting clients take turns."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

from lorerm.serving.errors import busy
from lorerm.serving.request_context import client

_T = TypeVar("_T")

MAX_WAITING = 256
"""Maximum number of calls of one client that wait for a thread."""
_RESERVED = 2  # number of threads that one client cannot use


class FairThreads:
    """Thread pool in which one client runs at most `threads - 2` calls at a time.

    Further calls of a client wait in that client's queue, and the queues are served in turn. All methods must be called
    in the event loop's thread.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(threads, name)
        self._free, self._share = threads, max(1, threads - _RESERVED)
        self._running: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[tuple[asyncio.Future[Any], Callable[[], Any]]]] = OrderedDict()

    async def run(self, work: Callable[..., _T], *arguments: object, of: str | None = None) -> _T:
        """Call a function in a thread and return its result. `of` is the client (default: the current request's)."""
        of = client.get() if of is None else of
        queue = self._waiting.setdefault(of, deque())
        if len(queue) >= MAX_WAITING:
            raise busy("too many requests of this client are waiting", "client_queue")
        done: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        queue.append((done, partial(copy_context().run, work, *arguments)))
        self._start_waiting()
        return await done

    def waiting(self) -> int:
        """Return the number of calls that wait for a thread."""
        return sum(map(len, self._waiting.values()))

    def close(self) -> None:
        """Finish the calls that have begun, and cancel the rest."""
        for queue in self._waiting.values():
            for done, _ in queue:
                done.cancel()
        self._waiting.clear()
        self._pool.shutdown(cancel_futures=True)

    def _start_waiting(self) -> None:
        while self._free:
            of = next((each for each in self._waiting if self._running[each] < self._share), None)
            if of is None:
                return
            queue = self._waiting[of]
            done, work = queue.popleft()
            self._waiting.move_to_end(of)
            if not queue:
                del self._waiting[of]
            if not done.cancelled():  # otherwise the request was stopped while it waited
                self._start(of, done, work)

    def _start(self, of: str, done: asyncio.Future[Any], work: Callable[[], Any]) -> None:
        self._free -= 1
        self._running[of] += 1
        running = asyncio.get_running_loop().run_in_executor(self._pool, work)
        running.add_done_callback(partial(self._finish, of, done))

    def _finish(self, of: str, done: asyncio.Future[Any], running: asyncio.Future[Any]) -> None:
        self._free += 1
        self._running[of] -= 1
        if not self._running[of]:
            del self._running[of]
        if not done.done():
            if running.cancelled():
                done.cancel()
            elif (error := running.exception()) is not None:
                done.set_exception(error)
            else:
                done.set_result(running.result())
        elif not running.cancelled():
            running.exception()  # retrieved, so that asyncio does not log it
        self._start_waiting()
