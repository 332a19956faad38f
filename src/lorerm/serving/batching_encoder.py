"""Encoding for concurrent requests: texts of several requests share a batch, and recent embeddings are cached."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict, deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import torch

from lorerm.arrays import Floats32
from lorerm.data.conversation import Conversation, conversation_key
from lorerm.embedding.encoder import Encoder
from lorerm.errors import DataError, LorermError
from lorerm.serving.errors import busy
from lorerm.serving.request_context import client
from lorerm.threads import set_torch_threads

MAX_BATCH = 256
"""Maximum number of conversations in one call of the encoder."""
MAX_BATCH_CHARACTERS = 131_072
"""Number of characters in a call of the encoder from which no conversation is added, so that no call takes long."""
MAX_WAITING = 4096
"""Maximum number of conversations of one client that wait for the encoder."""


@dataclass(eq=False)
class _Text:
    conversation: Conversation
    future: asyncio.Future[Floats32]
    requests: int = 0
    """Number of waiting requests that need the embedding."""


@dataclass(frozen=True, eq=False)
class _Request:
    """Conversations of one request that wait for a call of the encoder, with their keys, in the request's order."""

    client: str
    texts: deque[tuple[bytes, _Text]] = field(default_factory=deque)


class BatchingEncoder:
    """Encoder for concurrent requests, with a cache of recent embeddings (at most `cache_bytes`).

    Conversations that arrive while the encoder runs wait, and are encoded together in the next call. A prefix that
    several of these conversations share is then computed once. If the encoder is idle, it is called at once.

    Clients take turns, and the requests of one client take turns: in each turn, one conversation is added to the next
    call. So a small request does not wait for all conversations of a large request. A conversation, with its prompt,
    has at most `max_characters` characters.
    """

    def __init__(self, encoder: Encoder, cache_bytes: int, max_characters: int = 100_000) -> None:
        self._encoder, self._max_characters = encoder, max_characters
        self._max_cached = cache_bytes // (4 * encoder.identity.dimension)
        self._cache: OrderedDict[bytes, Floats32] = OrderedDict()
        self._waiting: dict[bytes, _Text] = {}
        self._running: dict[bytes, _Text] = {}
        # The waiting requests of each client. The first client, and its first request, have the next turn.
        self._turns: OrderedDict[str, deque[_Request]] = OrderedDict()
        self._work: asyncio.Task[None] | None = None
        self.hits, self.misses = 0, 0
        """Number of requested embeddings that were in the cache, and number that were not."""
        # Read torch's number of threads now, and set it in the encoder's thread. Otherwise the encoder's thread would
        # keep the number at its first use of torch, which is 1 while user weights are being fitted.
        threads = torch.get_num_threads()
        self._thread = ThreadPoolExecutor(1, "encoder", initializer=set_torch_threads, initargs=(threads,))

    async def embed(self, conversations: Sequence[Conversation]) -> Floats32:
        """Return the embeddings of conversations, float32 [n, D].

        Raises `DataError` if a conversation is too long, and `ApiError` if too many are waiting already.
        """
        for conversation in conversations:
            self._check_length(conversation)
        keys = [hashlib.sha256(conversation_key(each).encode()).digest() for each in conversations]
        found: dict[bytes, Floats32] = {}
        awaited: dict[bytes, asyncio.Future[Floats32]] = {}
        request = _Request(client.get())
        try:
            for key, conversation in zip(keys, conversations, strict=True):
                if key in self._cache:
                    self._cache.move_to_end(key)
                    found[key] = self._cache[key]
                elif key not in awaited:
                    awaited[key] = self._request(key, conversation, request)
            self.hits, self.misses = self.hits + len(found), self.misses + len(awaited)
            if request.texts:
                self._turns.setdefault(request.client, deque()).append(request)
                if self._work is None or self._work.done():
                    self._work = asyncio.create_task(self._encode_waiting())
            # Shield the future: if this request is cancelled, other requests may still wait for the same conversation.
            for key, future in awaited.items():
                found[key] = await asyncio.shield(future)
        finally:
            self._drop(request)
        return np.stack([found[key] for key in keys])

    def waiting(self) -> int:
        """Return the number of conversations that wait for the encoder."""
        return len(self._waiting)

    def cached(self) -> int:
        """Return the number of embeddings in the cache."""
        return len(self._cache)

    def close(self) -> None:
        """Stop the encoder, and cancel the conversations that wait or are being encoded."""
        if self._work is not None:
            self._work.cancel()
        for text in (*self._waiting.values(), *self._running.values()):
            text.future.cancel()
        self._thread.shutdown(cancel_futures=True)

    def _check_length(self, conversation: Conversation) -> None:
        length = sum(len(message["content"]) for message in conversation)
        if length > self._max_characters:
            raise DataError(
                f"a text and its prompt have {length:,} characters, and the maximum is {self._max_characters:,}",
                "send a shorter text, or start the server with a larger --max-text",
            )

    def _request(self, key: bytes, conversation: Conversation, request: _Request) -> asyncio.Future[Floats32]:
        if key in self._running:
            return self._running[key].future
        if key not in self._waiting:
            n_waiting = sum(len(each.texts) for each in self._turns.get(request.client, ()))
            if n_waiting + len(request.texts) >= MAX_WAITING:
                raise busy("too many texts wait to be embedded", "encoder_queue")
            future = asyncio.get_running_loop().create_future()
            future.add_done_callback(_retrieve_exception)
            self._waiting[key] = _Text(conversation, future)
        text = self._waiting[key]
        text.requests += 1
        request.texts.append((key, text))
        return text.future

    def _drop(self, request: _Request) -> None:
        """Remove a request that has ended. A conversation is then encoded only if another request needs it."""
        while request.texts:
            key, text = request.texts.pop()
            text.requests -= 1
            if not text.requests and self._waiting.get(key) is text:
                del self._waiting[key]

    async def _encode_waiting(self) -> None:
        while self._turns:
            self._running = self._next_batch()
            if self._running:
                await self._encode(list(self._running))
            self._running = {}

    def _next_batch(self) -> dict[bytes, _Text]:
        """Take conversations for one call from the waiting requests, in turn."""
        batch: dict[bytes, _Text] = {}
        characters = 0
        while self._turns and len(batch) < MAX_BATCH and characters < MAX_BATCH_CHARACTERS:
            of, requests = self._turns.popitem(last=False)
            request = requests.popleft()
            while request.texts:
                key, text = request.texts.popleft()
                if self._waiting.get(key) is text:  # otherwise it was added to a call in another request's turn
                    batch[key] = self._waiting.pop(key)
                    characters += sum(len(message["content"]) for message in text.conversation)
                    break
            if request.texts:
                requests.append(request)
            if requests:
                self._turns[of] = requests
        return batch

    async def _encode(self, keys: Sequence[bytes]) -> None:
        """Encode conversations in one call. If it raises `LorermError`, encode each alone to find those that fail."""
        loop = asyncio.get_running_loop()
        conversations = [self._running[key].conversation for key in keys]
        try:
            rows = await loop.run_in_executor(self._thread, self._encoder.encode, conversations)
        except Exception as error:
            if len(keys) > 1 and isinstance(error, LorermError):
                for key in keys:
                    await self._encode([key])
            else:
                for key in keys:
                    self._running[key].future.set_exception(error)
            return
        for key, row in zip(keys, rows, strict=True):
            self._running[key].future.set_result(self._remember(key, row.copy()))

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
