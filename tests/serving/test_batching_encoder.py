"""Concurrent requests are encoded in one call, each distinct text once, recent ones from the cache."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest

from lorerm import HashingEncoder
from lorerm.data.conversation import as_conversation
from lorerm.errors import DataError
from lorerm.serving import batching_encoder as module
from lorerm.serving.batching_encoder import BatchingEncoder
from lorerm.serving.errors import ApiError
from lorerm.serving.request_context import client
from refusals import refused


def talk(number: int):
    return as_conversation("What of bread?", f"Answer {number}, and {number * 'so '} on.")


class RecordingEncoder:
    """The built-in encoder, which records its calls and waits for an event."""

    def __init__(self) -> None:
        self._encoder = HashingEncoder()
        self.identity = self._encoder.identity
        self.calls: list[list] = []
        self.go = threading.Event()
        self.go.set()

    def encode(self, conversations, progress=None):
        self.calls.append(list(conversations))
        assert self.go.wait(60)
        if any("bad" in each[-1]["content"] for each in conversations):
            raise DataError("a conversation is bad", "leave it out")
        return self._encoder.encode(conversations)


def run_with(work, cache_bytes=10**6):
    """Run a coroutine function with a batching encoder and the recording encoder in it."""
    encoder = RecordingEncoder()

    async def run():
        batching = BatchingEncoder(encoder, cache_bytes)
        try:
            return await asyncio.wait_for(work(batching, encoder), 60)
        finally:
            encoder.go.set()
            batching.close()

    return asyncio.run(run()), encoder


async def called(encoder, times):
    while len(encoder.calls) < times:
        await asyncio.sleep(0.001)


def test_rows_are_the_encoders_in_the_order_of_the_request():
    async def work(batching, _):
        return await batching.embed([talk(2), talk(1), talk(2)])

    found, encoder = run_with(work)
    np.testing.assert_array_equal(found, HashingEncoder().encode([talk(2), talk(1), talk(2)]))
    assert encoder.calls == [[talk(2), talk(1)]]


def test_requests_during_a_call_share_the_next_one():
    async def work(batching, encoder):
        encoder.go.clear()
        first = asyncio.create_task(batching.embed([talk(0)]))
        await called(encoder, 1)
        others = [asyncio.create_task(batching.embed([talk(n), talk(n + 1), talk(0)])) for n in (1, 2, 3)]
        await asyncio.sleep(0)
        encoder.go.set()
        return await asyncio.gather(first, *others)

    found, encoder = run_with(work)
    assert encoder.calls == [[talk(0)], [talk(1), talk(2), talk(3), talk(4)]]
    np.testing.assert_array_equal(found[3], HashingEncoder().encode([talk(3), talk(4), talk(0)]))


def test_the_cache_is_limited():
    async def work(batching, _):
        for number in (1, 2, 1, 3, 1, 2):
            await batching.embed([talk(number)])

    size = 4 * HashingEncoder().identity.dimension
    assert run_with(work, 2 * size)[1].calls == [[talk(1)], [talk(2)], [talk(3)], [talk(2)]]
    assert len(run_with(work, 0)[1].calls) == 6


def test_only_the_faulty_request_gets_the_error():
    bad = as_conversation("What of bread?", "A bad one.")

    async def work(batching, encoder):
        encoder.go.clear()
        first = asyncio.create_task(batching.embed([talk(0)]))
        await called(encoder, 1)
        tasks = [asyncio.create_task(batching.embed([each])) for each in (talk(1), bad, talk(2))]
        await asyncio.sleep(0)
        encoder.go.set()
        await first
        return await asyncio.gather(*tasks, return_exceptions=True)

    (one, error, two), _ = run_with(work)
    assert isinstance(error, DataError)
    assert one.shape == two.shape == (1, HashingEncoder().identity.dimension)


def test_a_cancelled_request_does_not_cancel_others():
    async def work(batching, encoder):
        encoder.go.clear()
        leaving = asyncio.create_task(batching.embed([talk(1)]))
        staying = asyncio.create_task(batching.embed([talk(1)]))
        await called(encoder, 1)
        leaving.cancel()
        await asyncio.sleep(0)
        encoder.go.set()
        return await staying

    found, encoder = run_with(work)
    assert found.shape[0] == 1
    assert encoder.calls == [[talk(1)]]


def test_closing_cancels_conversations_that_wait_or_are_being_encoded():
    async def work(batching, encoder):
        encoder.go.clear()
        running = asyncio.create_task(batching.embed([talk(1)]))
        await called(encoder, 1)
        waiting = asyncio.create_task(batching.embed([talk(2)]))
        await asyncio.sleep(0)
        threading.Timer(0.05, encoder.go.set).start()  # `close` blocks the event loop until the encoder returns
        batching.close()
        return await asyncio.gather(running, waiting, return_exceptions=True)

    found, encoder = run_with(work)
    assert [type(one) for one in found] == [asyncio.CancelledError] * 2
    assert encoder.calls == [[talk(1)]]


def test_the_queue_is_limited(monkeypatch):
    monkeypatch.setattr(module, "MAX_WAITING", 3)

    async def work(batching, _):
        await batching.embed([talk(number) for number in range(5)])

    with pytest.raises(ApiError) as raised:
        run_with(work)
    assert (raised.value.status_code, raised.value.code) == (503, "busy")


def test_a_small_request_does_not_wait_for_all_of_a_large_one(monkeypatch):
    """Nor does a client wait for all requests of another."""
    monkeypatch.setattr(module, "MAX_BATCH", 4)

    async def ask(batching, name, numbers):
        client.set(name)
        await batching.embed([talk(number) for number in numbers])

    async def work(batching, encoder):
        encoder.go.clear()
        tasks = [asyncio.create_task(ask(batching, "greedy", [0]))]
        await called(encoder, 1)
        tasks += [asyncio.create_task(ask(batching, "greedy", range(n, n + 8))) for n in (10, 20, 30)]
        tasks += [asyncio.create_task(ask(batching, "modest", [1, 2]))]
        await asyncio.sleep(0)
        encoder.go.set()
        await asyncio.gather(*tasks)

    assert run_with(work)[1].calls[1:3] == [
        [talk(10), talk(1), talk(20), talk(2)],
        [talk(30), talk(11), talk(21), talk(31)],
    ]


def test_texts_of_a_stopped_request_are_not_encoded():
    """Unless another request needs them."""

    async def work(batching, encoder):
        encoder.go.clear()
        first = asyncio.create_task(batching.embed([talk(0)]))
        await called(encoder, 1)
        stopped = asyncio.create_task(batching.embed([talk(1), talk(2)]))
        other = asyncio.create_task(batching.embed([talk(2), talk(3)]))
        await asyncio.sleep(0)
        stopped.cancel()
        await asyncio.sleep(0)
        encoder.go.set()
        await asyncio.gather(first, other)
        assert batching.waiting() == 0

    assert run_with(work)[1].calls == [[talk(0)], [talk(2), talk(3)]]


def test_a_text_that_is_too_long_is_rejected_and_long_ones_share_no_call(monkeypatch):
    monkeypatch.setattr(module, "MAX_BATCH_CHARACTERS", 1000)
    long = [as_conversation("What of bread?", f"{number}" * 900) for number in (1, 2, 3)]

    async def work(batching, _):
        await batching.embed(long)
        with refused(DataError, "100,010 characters"):
            await batching.embed([as_conversation("Bread?", "a" * 100_004)])

    assert list(map(len, run_with(work)[1].calls)) == [2, 1]


def test_the_size_of_a_call_is_limited(monkeypatch):
    monkeypatch.setattr(module, "MAX_BATCH", 3)

    async def work(batching, _):
        return await batching.embed([talk(number) for number in range(7)])

    found, encoder = run_with(work)
    assert [len(call) for call in encoder.calls] == [3, 3, 1]
    np.testing.assert_array_equal(found, HashingEncoder().encode([talk(number) for number in range(7)]))


def test_a_prompt_of_two_requests_is_computed_once(tmp_path):
    """With the encoder for transformers: a prefix that two requests share runs once for both."""
    from lorerm.embedding.transformers.last_token import TransformersEncoder
    from tiny_models import TinyModels

    encoder = TransformersEncoder(str(TinyModels(tmp_path).folder()), device="cpu")
    assert encoder.running["shares_prefixes"]
    ran = []
    run = encoder.run
    encoder.run = lambda batch: ran.append(batch.n_tokens) or run(batch)
    prompt = "How do I bake bread at home? " * 8
    first, second = (as_conversation(prompt, text) for text in ("Mix flour.", "Wait."))

    async def ask(together):
        batching = BatchingEncoder(encoder, 0)
        try:
            if together:
                return await asyncio.gather(batching.embed([first]), batching.embed([second]))
            return [await batching.embed([each]) for each in (first, second)]
        finally:
            batching.close()

    apart = asyncio.run(ask(together=False))
    alone, ran[:] = sum(ran), []
    both = asyncio.run(ask(together=True))
    assert sum(ran) < 0.6 * alone
    for one, other in zip(apart, both, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


def test_the_encoder_uses_all_of_torchs_threads():
    """Even if its first call comes while another thread fits weights, which sets torch's number to one for a moment."""
    import torch

    from lorerm.threads import torch_on_one_thread

    found = []

    async def work(batching, encoder):
        encode = encoder.encode
        encoder.encode = lambda given: (found.append(torch.get_num_threads()), encode(given))[1]
        with torch_on_one_thread():
            await batching.embed([talk(0)])

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        run_with(work)
    finally:
        torch.set_num_threads(before)
    assert found == [3]
