"""Encoding for concurrent requests: texts of several requests share a batch, and recent embeddings are cached."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import torch

from lorerm.arrays import Floats32
from lorerm.data.conversation import Conversation, conversation_key
from lorerm.embedding.encoder import Encoder
from lorerm.errors import LorermError
from lorerm.serving.errors import busy
from lorerm.threads import set_torch_threads

_Requested = dict[bytes, tuple["Conversation", "asyncio.Future[Floats32]"]]

MAX_BATCH = 256
"""Maximum number of conversations in one call of the encoder."""
MAX_WAITING = 4096
"""Maximum number of conversations that wait for the encoder."""


class BatchingEncoder:
    """Encoder for concurrent requests, with a cache of recent embeddings (at most `cache_bytes`).

    Conversations that arrive while the encoder runs wait, and are encoded together in the next call. A prefix that
    several of them share is then computed once. If the encoder is idle, it is called at once.
    """

    def __init__(self, encoder: Encoder, cache_bytes: int) -> None:
        self._encoder = encoder
        self._max_cached = cache_bytes // (4 * encoder.identity.dimension)
        self._cache: OrderedDict[bytes, Floats32] = OrderedDict()
        self._waiting: _Requested = {}
        self._running: _Requested = {}
        self._work: asyncio.Task[None] | None = None
        # Read torch's number of threads now, and set it in the encoder's thread. Otherwise the thread would keep the
        # number that applies when it first uses torch, which is 1 if user weights are being fitted at that time.
        threads = torch.get_num_threads()
        self._thread = ThreadPoolExecutor(1, "encoder", initializer=set_torch_threads, initargs=(threads,))

    async def embed(self, conversations: Sequence[Conversation]) -> Floats32:
        """Return the embeddings of conversations, float32 [n, D]. Raises `ApiError` if too many are already waiting."""
        keys = [hashlib.sha256(conversation_key(each).encode()).digest() for each in conversations]
        found: dict[bytes, Floats32] = {}
        awaited: dict[bytes, asyncio.Future[Floats32]] = {}
        for key, conversation in zip(keys, conversations, strict=True):
            if key in self._cache:
                self._cache.move_to_end(key)
                found[key] = self._cache[key]
            elif key not in awaited:
                awaited[key] = self._request(key, conversation)
        # Shield the future: if this request is cancelled, other requests may still wait for the same conversation.
        for key, future in awaited.items():
            found[key] = await asyncio.shield(future)
        return np.stack([found[key] for key in keys])

    def close(self) -> None:
        """Stop the encoder, and cancel the conversations that wait or are being encoded."""
        if self._work is not None:
            self._work.cancel()
        for _, future in (*self._waiting.values(), *self._running.values()):
            future.cancel()
        self._thread.shutdown(cancel_futures=True)

    def _request(self, key: bytes, conversation: Conversation) -> asyncio.Future[Floats32]:
        for requested in (self._running, self._waiting):
            if key in requested:
                return requested[key][1]
        if len(self._waiting) >= MAX_WAITING:
            raise busy("too many texts wait to be embedded")
        future = asyncio.get_running_loop().create_future()
        future.add_done_callback(_retrieve_exception)
        self._waiting[key] = conversation, future
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._encode_waiting())
        return future

    async def _encode_waiting(self) -> None:
        while self._waiting:
            keys = list(self._waiting)[:MAX_BATCH]
            self._running = {key: self._waiting.pop(key) for key in keys}
            await self._encode(list(self._running))
            self._running = {}

    async def _encode(self, keys: Sequence[bytes]) -> None:
        """Encode conversations in one call. If it raises `LorermError`, encode each alone to find the invalid ones."""
        loop = asyncio.get_running_loop()
        conversations = [self._running[key][0] for key in keys]
        try:
            rows = await loop.run_in_executor(self._thread, self._encoder.encode, conversations)
        except Exception as error:
            if len(keys) > 1 and isinstance(error, LorermError):
                for key in keys:
                    await self._encode([key])
            else:
                for key in keys:
                    self._running[key][1].set_exception(error)
            return
        for key, row in zip(keys, rows, strict=True):
            self._running[key][1].set_result(self._remember(key, row.copy()))

    def _remember(self, key: bytes, row: Floats32) -> Floats32:
        if self._max_cached:
            self._cache[key] = row
            if len(self._cache) > self._max_cached:
                self._cache.popitem(last=False)
        return row


def _retrieve_exception(future: asyncio.Future[Floats32]) -> None:
    """Retrieve a future's exception. If all requests for it were cancelled, asyncio would log it as never retrieved."""
    with suppress(asyncio.CancelledError):
        future.exception()
