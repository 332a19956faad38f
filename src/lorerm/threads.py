"""Threads of this package's own, for work that comes in independent parts, each part on one of torch's threads.

After each operation on several threads torch's wait for the next one at full speed, for milliseconds, on the cores that
others need: with those busy, an operation takes many times as long as on one thread.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Item = TypeVar("Item")
Result = TypeVar("Result")

# How many threads there are where torch has been given only one.
_threads: ContextVar[int | None] = ContextVar("threads", default=None)


@contextmanager
def torch_on_one_thread() -> Iterator[None]:
    """Compute torch's own operations on one thread; `map_in_threads` keeps the number that there was before."""
    import torch

    before = torch.get_num_threads()
    token = _threads.set(_threads.get() or before)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        _threads.reset(token)


def have_torch_threads(number: int) -> None:
    """Let torch compute on so many threads for this one, which may not have used torch before."""
    import torch

    # A thread's first operation takes the number that any thread set last: this is that operation.
    torch.get_num_threads()
    torch.set_num_threads(number)


def map_in_threads(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Yield what `work` returns of each item, in order, on as many threads as torch has; one item on this thread."""
    import torch

    threads = min(_threads.get() or torch.get_num_threads(), len(items))
    with torch_on_one_thread():
        if threads <= 1:
            yield from map(work, items)
            return
        from concurrent.futures import ThreadPoolExecutor

        # torch's threads belong to the thread that started them: each has to be told.
        with ThreadPoolExecutor(threads, initializer=have_torch_threads, initargs=(1,)) as pool:
            yield from pool.map(work, items)
