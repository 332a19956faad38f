"""Run independent parts of the work in threads, each of which computes torch's operations on one thread.

After an operation on several threads, torch's idle threads spin for milliseconds, on cores that others need. Where
those are busy, an operation on several threads takes many times as long as on one.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Item = TypeVar("Item")
Result = TypeVar("Result")

# The number of threads that torch had before `torch_on_one_thread`; None outside it.
_threads: ContextVar[int | None] = ContextVar("threads", default=None)


@contextmanager
def torch_on_one_thread() -> Iterator[None]:
    """Compute torch's operations on one thread; `map_in_threads` still uses as many threads as torch had before."""
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
    """Set the number of torch's threads for the current thread, also if it has not used torch before."""
    import torch

    # At its first call into torch, a thread takes over the number that any thread set last: this is that call.
    torch.get_num_threads()
    torch.set_num_threads(number)


def map_in_threads(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Yield `work(item)` for each item, in order, on as many threads as torch has; a single item on this thread."""
    import torch

    threads = min(_threads.get() or torch.get_num_threads(), len(items))
    with torch_on_one_thread():
        if threads <= 1:
            yield from map(work, items)
            return
        from concurrent.futures import ThreadPoolExecutor

        # The number of torch's threads is set for each thread separately.
        with ThreadPoolExecutor(threads, initializer=set_torch_threads, initargs=(1,)) as pool:
            yield from pool.map(work, items)
