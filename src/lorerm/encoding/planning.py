"""From conversations to batches of token ids: all that comes before the model itself, and needs none of its weights."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lorerm.encoding.batches import Batch, Sharing, plan_batches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lorerm.encoding.chat import ChatTokenizer
    from lorerm.preferences.conversation import Conversation


@dataclass(frozen=True)
class Remarks:
    """What is worth a warning about some conversations."""

    shortened: int = 0
    """whose prompt was longer than the model may be given, and lost text at its beginning"""
    control: int = 0
    """in whose text control tokens stand"""

    def __add__(self, other: Remarks) -> Remarks:
        return Remarks(self.shortened + other.shortened, self.control + other.control)

    def sentences(self, total: int, model: str, max_length: int | None) -> list[str]:
        """Say it, of `total` conversations; an empty list where there is nothing to say."""
        said = []
        if self.shortened:
            said.append(
                f"{self.shortened:,} of {total:,} conversations were longer than the {max_length} tokens that {model} "
                "may be given: the beginning of their prompts was left out."
            )
        if self.control:
            said.append(
                f"control tokens of {model} stand in the text of {self.control:,} of {total:,} conversations and act "
                "as such."
            )
        return said


@dataclass(frozen=True)
class Plan:
    """Batches in which every one of n conversations stands once, and what is to be said of them."""

    batches: tuple[Batch, ...]
    remarks: Remarks


@dataclass(frozen=True)
class Planner:
    """Plans batches for one model.

    Parameters
    ----------
    model
        Its name, for messages.
    chat
        Its tokenizer and chat template.
    sharing
        What it allows to run together.
    batch_tokens
        The most tokens of a batch.
    max_length
        The most tokens of a conversation; None is any number.
    """

    model: str
    chat: ChatTokenizer
    sharing: Sharing
    batch_tokens: int
    max_length: int | None

    def plan(self, conversations: Sequence[Conversation], n_checked: int = 0) -> Plan:
        """Plan n conversations, `n_checked` of them to be run alone as well.

        Raises
        ------
        DataError
            If a conversation is too long even without its prompt, or the chat template refuses it.
        """
        chats = self.chat.render(conversations, self.max_length)
        batches = plan_batches(chats.token_ids, self.sharing, self.batch_tokens, n_checked)
        return Plan(batches, Remarks(len(chats.shortened), len(chats.control)))

    def warn(self, remarks: Remarks, total: int) -> None:
        """Give the remarks as warnings to the caller of the caller."""
        for sentence in remarks.sentences(total, self.model, self.max_length):
            warnings.warn(sentence, UserWarning, stacklevel=3)
