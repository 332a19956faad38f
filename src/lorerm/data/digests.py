"""Digests of comparisons, by which a comparison that was added before is recognised without keeping its text."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from lorerm.data.conversation import conversation_key
from lorerm.data.responses import read_responses

if TYPE_CHECKING:
    from lorerm.arrays import Ints
    from lorerm.data.preferences import Preferences


def digest_comparisons(preferences: Preferences) -> Ints:
    """Return a hash of each comparison, int64 [n], computed from its user, prompt and responses, but not its weight.

    Two comparisons have the same digest if they are equal, whatever the file or format they were read from.
    """
    chosen, rejected = preferences.rows()
    used = np.unique(np.concatenate([chosen, rejected]))
    # The number of the prompt's messages shows where the prompt ends and the response begins.
    texts = [
        _hash(f"{len(prompt)} {conversation_key(prompt + response)}".encode(), 16)
        for prompt, response in read_responses(preferences.responses.take(used))
    ]
    pairs = zip(np.searchsorted(used, chosen).tolist(), np.searchsorted(used, rejected).tolist(), strict=True)
    digests = b"".join(
        _hash(texts[better] + texts[worse] + user.encode(), 8)
        for user, (better, worse) in zip(preferences.user_ids, pairs, strict=True)
    )
    return np.frombuffer(digests, dtype="<i8").astype(np.int64)


def digest_by_user(preferences: Preferences) -> Ints:
    """Return the digests of comparisons grouped by user, the users in order of first appearance."""
    return digest_comparisons(preferences)[np.argsort(preferences.index_users()[1], kind="stable")]


def _hash(content: bytes, size: int) -> bytes:
    return blake2b(content, digest_size=size).digest()
