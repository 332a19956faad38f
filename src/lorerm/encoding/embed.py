"""From text preferences to embedded ones, in memory; `embed_into.py` does the same into a run folder."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from lorerm.encoding.batched import encode_in_batches
from lorerm.encoding.embedded_preferences import EmbeddedPreferences
from lorerm.encoding.planning import Remarks
from lorerm.encoding.responses import collect
from lorerm.encoding.shards import SHARD_ROWS

if TYPE_CHECKING:
    from lorerm.encoding.encoder import Encoder, Progress
    from lorerm.preferences.preferences import Preferences


def embed(preferences: Preferences, encoder: Encoder, progress: Progress | None = None) -> EmbeddedPreferences:
    """Embed each distinct conversation once.

    Parameters
    ----------
    preferences
        n pairs of responses.
    encoder
        For instance `HashingEncoder()` or `TransformersEncoder("ID_OR_PATH")`.
    progress
        Called with (conversations done, conversations in all).

    Returns
    -------
    EmbeddedPreferences
        n comparisons of the R distinct responses, which stand in the order of their texts; with the encoder's identity
        and, if it has one, its reference head.

    Raises
    ------
    DataError
        If the encoder cannot embed a conversation, or gives NaN; the message names its user and prompt.

    Warns
    -----
    UserWarning
        If prompts were shortened, or the model's control tokens stand in the text of some conversations.
    """
    embedded, remarks = embed_and_remark(preferences, encoder, progress)
    for sentence in remarks.sentences(len(embedded.responses), encoder.identity):
        warnings.warn(sentence, UserWarning, stacklevel=2)
    return embedded


def embed_and_remark(
    preferences: Preferences, encoder: Encoder, progress: Progress | None = None
) -> tuple[EmbeddedPreferences, Remarks]:
    """Do what `embed` does, and return what it would warn of."""
    with collect([preferences]) as distinct:
        total, remarks = len(distinct), Remarks()
        embeddings = np.empty((total, encoder.identity.dimension), dtype=np.float32)
        for start in range(0, total, SHARD_ROWS):
            rows = slice(start, min(start + SHARD_ROWS, total))

            def tell(done: int, _: int, before: int = start) -> None:
                if progress is not None:
                    progress(before + done, total)

            with distinct.naming(start):
                embeddings[rows], found = encode_in_batches(encoder, distinct.conversations(rows), progress=tell)
            remarks += found
        chosen, rejected = distinct.rows(preferences)
    labels = preferences.splits
    embedded = EmbeddedPreferences.from_arrays(
        embeddings,
        chosen,
        rejected,
        preferences.user_ids,
        preferences.prompt_ids,
        preferences.weights,
        splits=None if all(label is None for label in labels) else labels,
        encoder=encoder.identity,
        reference=encoder.reference,
    )
    return embedded, remarks
