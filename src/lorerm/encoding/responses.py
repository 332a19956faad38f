"""Which conversations there are to embed, each once, and which of them each comparison is about."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lorerm.errors import DataError, ModelError
from lorerm.preferences.conversation import conversation_key
from lorerm.preferences.shared import SharedPreferences

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lorerm.preferences.conversation import Conversation
    from lorerm.preferences.preferences import Preferences

# How errors name one of the conversations that an encoder was given, or one of the rows that it made of them.
_ENTRY = re.compile(r"conversations\[(\d+)\]|responses row (\d+)")


@dataclass(frozen=True)
class DistinctResponses:
    """The distinct conversations of some preferences.

    Parameters
    ----------
    conversations
        R of them, in order of first appearance: a row's chosen one before its rejected one.
    chosen, rejected
        Int64 [n]: which conversation each comparison is about.
    """

    conversations: list[Conversation]
    chosen: np.ndarray[Any, np.dtype[np.int64]]
    rejected: np.ndarray[Any, np.dtype[np.int64]]

    @classmethod
    def of(cls, preferences: Preferences | SharedPreferences) -> DistinctResponses:
        """Find the distinct conversations; shared preferences have them already."""
        if isinstance(preferences, SharedPreferences):
            rows = np.stack([preferences.chosen, preferences.rejected]).astype(np.int64)
            return cls(preferences.all_conversations(), rows[0], rows[1])
        place: dict[str, int] = {}
        conversations: list[Conversation] = []
        rows = np.empty((2, len(preferences)), dtype=np.int64)
        sides = zip(preferences.conversations("chosen"), preferences.conversations("rejected"), strict=True)
        for i, pair in enumerate(sides):
            for side, conversation in enumerate(pair):
                key = conversation_key(conversation)
                if key not in place:
                    place[key] = len(conversations)
                    conversations.append(conversation)
                rows[side, i] = place[key]
        return cls(conversations, rows[0], rows[1])

    @contextmanager
    def naming(self, preferences: Preferences | SharedPreferences, start: int = 0) -> Iterator[None]:
        """Say in the errors of an encoder whose response to which prompt it is that they number.

        Parameters
        ----------
        preferences
            Those that these are the conversations of.
        start
            The place of the first conversation that the encoder is given.
        """

        def name(entry: re.Match[str]) -> str:
            place = start + int(entry[1] or entry[2])
            pair = int(np.flatnonzero((self.chosen == place) | (self.rejected == place))[0])
            side = "chosen" if self.chosen[pair] == place else "rejected"
            user, prompt = preferences.user_ids[pair], preferences.prompt_ids[pair]
            return f"the {side} response of user {user!r} to prompt {prompt!r}"

        try:
            yield
        except (DataError, ModelError) as error:
            raise type(error)(_ENTRY.sub(name, error.problem), error.remedy) from error
