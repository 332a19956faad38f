"""From text preferences to embedded ones, in memory; `embed_into.py` does the same into a run folder."""

from __future__ import annotations

import warnings
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from lorerm.embedding.batch_encoder import EncodingSummary, ShardEncoder, encode_in_batches
from lorerm.embedding.embedded_preferences import EmbeddedPreferences
from lorerm.embedding.responses import collect
from lorerm.embedding.shards import spans

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    import numpy.typing as npt

    from lorerm.data.preferences import Preferences
    from lorerm.embedding.encoder import Encoder, Progress
    from lorerm.embedding.responses import DistinctResponses


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
    for sentence in remarks.warnings(len(embedded.responses), encoder.identity):
        warnings.warn(sentence, UserWarning, stacklevel=2)
    return embedded


def embed_and_remark(
    preferences: Preferences, encoder: Encoder, progress: Progress | None = None
) -> tuple[EmbeddedPreferences, EncodingSummary]:
    """Do what `embed` does, and return what it would warn of."""
    with collect([preferences]) as distinct:
        total, remarks, done = len(distinct), EncodingSummary(), 0
        embeddings = np.empty((total, encoder.identity.dimension), dtype=np.float32)
        parts = spans(total)
        with closing(_encode(encoder, distinct, parts, progress)) as encoded:
            for number, get in encoded:
                rows = parts[number]
                with distinct.naming(rows.start):
                    embeddings[rows], found = get()
                remarks += found
                done += rows.stop - rows.start
                if progress is not None:
                    progress(done, total)
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


def _encode(
    encoder: Encoder, distinct: DistinctResponses, parts: Sequence[slice], progress: Progress | None
) -> Generator[tuple[int, Callable[[], tuple[npt.NDArray[np.float32], EncodingSummary]]]]:
    """Yield the number of every part of the conversations, with what encodes it or, where others do that, has them."""
    if isinstance(encoder, ShardEncoder):
        yield from encoder.encode_shards(distinct.conversations(rows) for rows in parts)
        return
    for number, rows in enumerate(parts):

        def tell(done: int, _: int, before: int = rows.start) -> None:
            if progress is not None:
                progress(before + done, len(distinct))

        yield number, partial(encode_in_batches, encoder, distinct.conversations(rows), progress=tell)
