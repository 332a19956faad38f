"""Texts to embeddings: those of concurrent requests together, each distinct one once, the recent ones from memory."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import torch

from lorerm.data.conversation import conversation_key
from lorerm.errors import LorermError
from lorerm.serving.errors import RETRY_AFTER, ApiError
from lorerm.threads import set_torch_threads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lorerm.data.conversation import Conversation
    from lorerm.embedding.encoder import Encoder
    from lorerm.serving.vectors import Vector32

_Waiting = dict[bytes, tuple["Conversation", "asyncio.Future[Vector32]"]]

BATCH = 256
"""Conversations of a call of the encoder, at most."""
MOST_WAITING = 4096
"""Conversations that wait, at most."""


class Embeddings:
    """An encoder that many ask at once.

    While the encoder is at work, what is asked for waits, and then goes to it together, so that what several
    conversations begin with is computed once. Nothing waits for company.

    Parameters
    ----------
    encoder
        What embeds.
    cache_bytes
        Bytes of recent embeddings to keep, at most.
    """

    def __init__(self, encoder: Encoder, cache_bytes: int) -> None:
        self._encoder = encoder
        self._most_cached = cache_bytes // (4 * encoder.identity.dimension)
        self._cache: OrderedDict[bytes, Vector32] = OrderedDict()
        self._waiting: _Waiting = {}
        self._running: _Waiting = {}
        self._work: asyncio.Task[None] | None = None
        # A thread that first asks torch for its threads while users' weights are fitted, on one, would keep to one.
        threads = torch.get_num_threads()
        self._thread = ThreadPoolExecutor(1, "encoder", initializer=set_torch_threads, initargs=(threads,))

    async def embed(self, conversations: Sequence[Conversation]) -> Vector32:
        """Return float32 [n, D].

        Raises
        ------
        DataError, ModelError
            If one of these conversations cannot be embedded.
        ApiError
            If too many wait already.
        """
        keys = [hashlib.sha256(conversation_key(each).encode()).digest() for each in conversations]
        found: dict[bytes, Vector32] = {}
        awaited: dict[bytes, asyncio.Future[Vector32]] = {}
        for key, conversation in zip(keys, conversations, strict=True):
            if key in self._cache:
                self._cache.move_to_end(key)
                found[key] = self._cache[key]
            elif key not in awaited:
                awaited[key] = self._ask(key, conversation)
        # Shielded: others may wait for the same.
        for key, future in awaited.items():
            found[key] = await asyncio.shield(future)
        return np.stack([found[key] for key in keys])

    def close(self) -> None:
        """Stop; what waits is given up."""
        if self._work is not None:
            self._work.cancel()
        self._thread.shutdown(cancel_futures=True)

    def _ask(self, key: bytes, conversation: Conversation) -> asyncio.Future[Vector32]:
        for asked in (self._running, self._waiting):
            if key in asked:
                return asked[key][1]
        if len(self._waiting) >= MOST_WAITING:
            raise ApiError(503, "busy", "too many texts wait to be embedded", "send it again later", RETRY_AFTER)
        future = asyncio.get_running_loop().create_future()
        future.add_done_callback(_retrieve)
        self._waiting[key] = conversation, future
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._drain())
        return future

    async def _drain(self) -> None:
        while self._waiting:
            keys = list(self._waiting)[:BATCH]
            self._running = {key: self._waiting.pop(key) for key in keys}
            await self._encode(list(self._running))
            self._running = {}

    async def _encode(self, keys: Sequence[bytes]) -> None:
        """Encode what is asked for; where that fails, each for itself, so that only who is at fault is told."""
        loop = asyncio.get_running_loop()
        conversations = [self._running[key][0] for key in keys]
        try:
            rows = await loop.run_in_executor(self._thread, self._encoder.encode, conversations)
        except asyncio.CancelledError:
            for key in keys:
                self._running[key][1].cancel()
            raise
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

    def _remember(self, key: bytes, row: Vector32) -> Vector32:
        if self._most_cached:
            self._cache[key] = row
            if len(self._cache) > self._most_cached:
                self._cache.popitem(last=False)
        return row


def _retrieve(future: asyncio.Future[Vector32]) -> None:
    """Look at the error, which is nobody's concern where all who waited have gone."""
    with suppress(asyncio.CancelledError):
        future.exception()
