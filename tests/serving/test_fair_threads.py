"""No client can use all threads, and waiting clients take turns."""

from __future__ import annotations

import asyncio
import threading

import pytest

from lorerm.serving import fair_threads as module
from lorerm.serving.errors import ApiError
from lorerm.serving.fair_threads import FairThreads


def run_with(work, threads):
    """Run a coroutine function with a pool, and an event that its calls wait for."""
    go = threading.Event()

    async def run():
        pool = FairThreads(threads, "test")
        try:
            return await asyncio.wait_for(work(pool, go), 60)
        finally:
            go.set()
            pool.close()

    return asyncio.run(run())


def test_a_client_leaves_threads_to_others():
    async def work(pool, go):
        greedy = [asyncio.ensure_future(pool.run(go.wait, 60, of="greedy")) for _ in range(20)]
        await asyncio.sleep(0)
        assert pool.waiting() == 18
        assert await pool.run(lambda: "at once", of="modest") == "at once"
        go.set()
        return await asyncio.gather(*greedy)

    assert all(run_with(work, threads=4))


def test_waiting_clients_take_turns():
    order = []

    async def work(pool, go):
        calls = [pool.run(go.wait, 60, of="first")]
        calls += [pool.run(order.append, name, of=name[0]) for name in ("a1", "a2", "a3", "b1", "c1")]
        running = [asyncio.ensure_future(call) for call in calls]
        await asyncio.sleep(0.05)
        go.set()
        await asyncio.gather(*running)

    run_with(work, threads=1)
    assert order == ["a1", "b1", "c1", "a2", "a3"]


def test_the_queue_of_a_client_is_limited(monkeypatch):
    monkeypatch.setattr(module, "MAX_WAITING", 2)

    async def work(pool, go):
        calls = [asyncio.ensure_future(pool.run(go.wait, 60, of="greedy")) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(ApiError) as raised:
            await pool.run(go.wait, 60, of="greedy")
        assert (raised.value.status_code, raised.value.cause) == (503, "client_queue")
        go.set()
        await asyncio.gather(*calls)

    run_with(work, threads=1)


def test_a_call_whose_request_stopped_while_it_waited_is_not_made():
    made = []

    async def work(pool, go):
        first = asyncio.ensure_future(pool.run(go.wait, 60, of="a"))
        second = asyncio.ensure_future(pool.run(made.append, 2, of="a"))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.sleep(0)
        go.set()
        await first
        await pool.run(made.append, 3, of="a")

    run_with(work, threads=1)
    assert made == [3]


def test_an_error_reaches_the_caller():
    async def work(pool, go):
        with pytest.raises(ZeroDivisionError):
            await pool.run(lambda: 1 / 0)
        return await pool.run(lambda: 1)

    assert run_with(work, threads=1) == 1
