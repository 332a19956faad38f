"""From text preferences to embedded ones, in memory; `store.py` does the same into a run folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lorerm.encoding.embedded_preferences import EmbeddedPreferences
from lorerm.encoding.responses import DistinctResponses

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
        n comparisons of the R distinct responses, with the encoder's identity and, if it has one, its reference head.

    Raises
    ------
    DataError
        If the encoder cannot embed a conversation; the message names its user and prompt.
    """
    distinct = DistinctResponses.of(preferences)
    labels = preferences.splits
    with distinct.naming(preferences):
        embedded = encoder.encode(distinct.conversations, progress)
    return EmbeddedPreferences.from_arrays(
        embedded,
        distinct.chosen,
        distinct.rejected,
        preferences.user_ids,
        preferences.prompt_ids,
        preferences.weights,
        splits=None if all(label is None for label in labels) else labels,
        encoder=encoder.identity,
        reference=encoder.reference,
    )
