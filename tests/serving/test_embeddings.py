"""Texts of concurrent callers go to the encoder together; each distinct one once; recent ones from memory."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest

from lorerm import HashingEncoder
from lorerm.data.conversation import as_conversation
from lorerm.errors import DataError
from lorerm.serving import embeddings as module
from lorerm.serving.embeddings import Embeddings
from lorerm.serving.errors import ApiError


def talk(number: int):
    return as_conversation("What of bread?", f"Answer {number}, and {number * 'so '} on.")


class Watched:
    """The embedded encoder, which notes what each call was given, and waits where it is told to."""

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


def served(work, cache_bytes=10**6):
    """Run some work on the embeddings of a watched encoder."""
    encoder = Watched()

    async def run():
        embeddings = Embeddings(encoder, cache_bytes)
        try:
            return await asyncio.wait_for(work(embeddings, encoder), 60)
        finally:
            encoder.go.set()
            embeddings.close()

    return asyncio.run(run()), encoder


async def called(encoder, times):
    while len(encoder.calls) < times:
        await asyncio.sleep(0.001)


def test_rows_are_those_of_the_encoder_in_the_order_asked():
    async def work(embeddings, _):
        return await embeddings.embed([talk(2), talk(1), talk(2)])

    found, encoder = served(work)
    np.testing.assert_array_equal(found, HashingEncoder().encode([talk(2), talk(1), talk(2)]))
    assert encoder.calls == [[talk(2), talk(1)]]


def test_who_asks_while_the_encoder_works_goes_in_the_next_call_together():
    async def work(embeddings, encoder):
        encoder.go.clear()
        first = asyncio.create_task(embeddings.embed([talk(0)]))
        await called(encoder, 1)
        others = [asyncio.create_task(embeddings.embed([talk(n), talk(n + 1), talk(0)])) for n in (1, 2, 3)]
        await asyncio.sleep(0)
        encoder.go.set()
        return await asyncio.gather(first, *others)

    found, encoder = served(work)
    assert encoder.calls == [[talk(0)], [talk(1), talk(2), talk(3), talk(4)]]
    np.testing.assert_array_equal(found[3], HashingEncoder().encode([talk(3), talk(4), talk(0)]))


def test_recent_ones_come_from_memory_which_is_bounded():
    async def work(embeddings, _):
        for number in (1, 2, 1, 3, 1, 2):
            await embeddings.embed([talk(number)])

    size = 4 * HashingEncoder().identity.dimension
    assert served(work, 2 * size)[1].calls == [[talk(1)], [talk(2)], [talk(3)], [talk(2)]]
    assert len(served(work, 0)[1].calls) == 6


def test_only_who_is_at_fault_is_told():
    bad = as_conversation("What of bread?", "A bad one.")

    async def work(embeddings, encoder):
        encoder.go.clear()
        first = asyncio.create_task(embeddings.embed([talk(0)]))
        await called(encoder, 1)
        tasks = [asyncio.create_task(embeddings.embed([each])) for each in (talk(1), bad, talk(2))]
        await asyncio.sleep(0)
        encoder.go.set()
        await first
        return await asyncio.gather(*tasks, return_exceptions=True)

    (one, error, two), _ = served(work)
    assert isinstance(error, DataError)
    assert one.shape == two.shape == (1, HashingEncoder().identity.dimension)


def test_a_caller_who_leaves_takes_nobody_along():
    async def work(embeddings, encoder):
        encoder.go.clear()
        leaving = asyncio.create_task(embeddings.embed([talk(1)]))
        staying = asyncio.create_task(embeddings.embed([talk(1)]))
        await called(encoder, 1)
        leaving.cancel()
        await asyncio.sleep(0)
        encoder.go.set()
        return await staying

    found, encoder = served(work)
    assert found.shape[0] == 1
    assert encoder.calls == [[talk(1)]]


def test_what_waits_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "MOST_WAITING", 3)

    async def work(embeddings, _):
        await embeddings.embed([talk(number) for number in range(5)])

    with pytest.raises(ApiError) as raised:
        served(work)
    assert raised.value.status_code == 503


def test_a_call_of_the_encoder_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "BATCH", 3)

    async def work(embeddings, _):
        return await embeddings.embed([talk(number) for number in range(7)])

    found, encoder = served(work)
    assert [len(call) for call in encoder.calls] == [3, 3, 1]
    np.testing.assert_array_equal(found, HashingEncoder().encode([talk(number) for number in range(7)]))


def test_a_prompt_of_several_callers_is_computed_once(tmp_path):
    """Through the encoder for real models: what two requests begin with in common runs once for both."""
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
        embeddings = Embeddings(encoder, 0)
        try:
            if together:
                return await asyncio.gather(embeddings.embed([first]), embeddings.embed([second]))
            return [await embeddings.embed([each]) for each in (first, second)]
        finally:
            embeddings.close()

    apart = asyncio.run(ask(together=False))
    alone, ran[:] = sum(ran), []
    both = asyncio.run(ask(together=True))
    assert sum(ran) < 0.6 * alone
    for one, other in zip(apart, both, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


def test_the_encoder_has_torchs_threads_whenever_it_is_first_asked():
    """Also while another thread fits weights, for which torch's own number is one for a moment."""
    import torch

    from lorerm.threads import torch_on_one_thread

    found = []

    async def work(embeddings, encoder):
        encode = encoder.encode
        encoder.encode = lambda given: (found.append(torch.get_num_threads()), encode(given))[1]
        with torch_on_one_thread():
            await embeddings.embed([talk(0)])

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        served(work)
    finally:
        torch.set_num_threads(before)
    assert found == [3]
