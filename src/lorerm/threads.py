"""Run independent tasks in parallel threads, in each of which torch computes an operation on one thread.

After an operation on several threads, torch's idle threads keep their cores busy for some milliseconds. If other
threads or processes need these cores, an operation on several threads takes many times as long as on one.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Item = TypeVar("Item")
Result = TypeVar("Result")

# Inside `torch_on_one_thread`: the number of threads that torch used before the outermost such block. Outside: None.
_threads: ContextVar[int | None] = ContextVar("threads", default=None)


@contextmanager
def torch_on_one_thread() -> Iterator[None]:
    """Restrict torch to one thread inside the block.

    `map_in_threads` still runs as many tasks in parallel as torch had threads before.
    """
    import torch

    before = torch.get_num_threads()
    token = _threads.set(_threads.get() or before)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        _threads.reset(token)


def set_torch_threads(number: int) -> None:
    """Set the number of threads that torch uses for operations called from the current thread."""
    import torch

    # A thread's first call into torch replaces its number with the one that any thread set last. So make that call now.
    torch.get_num_threads()
    torch.set_num_threads(number)


def map_in_threads(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Yield `work(item)` for each item, in order, computed on as many threads as torch uses.

    If that is one thread, or there is only one item, all is computed on the current thread.
    """
    import torch

    threads = min(_threads.get() or torch.get_num_threads(), len(items))
    with torch_on_one_thread():
        if threads <= 1:
            yield from map(work, items)
            return
        from concurrent.futures import ThreadPoolExecutor

        # torch keeps a number of threads for each calling thread, so it is set in every thread of the pool.
        with ThreadPoolExecutor(threads, initializer=set_torch_threads, initargs=(1,)) as pool:
            yield from pool.map(work, items)
