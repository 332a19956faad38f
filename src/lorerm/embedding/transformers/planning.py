"""From conversations to batches of token ids: all that comes before the model itself, and needs none of its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from lorerm.embedding.transformers.batches import Sharing, plan_batches
from lorerm.embedding.transformers.tolerance import EXACT, EXACT_TYPES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lorerm.data.conversation import Conversation
    from lorerm.embedding.encoder import EncoderIdentity
    from lorerm.embedding.transformers.chat import ChatTokenizer


@dataclass(frozen=True)
class Remarks:
    """What is worth saying about the embedding of some conversations."""

    shortened: int = 0
    """how many had a prompt longer than the model may be given, and lost text at its beginning"""
    control: int = 0
    """in the text of how many control tokens stand"""
    checked: int = 0
    """how many were embedded on their own as well, to compare"""
    deviation: float = 0.0
    """the largest distance that this found, relative to the embedding's length"""

    def __add__(self, other: Remarks) -> Remarks:
        return Remarks(
            self.shortened + other.shortened,
            self.control + other.control,
            self.checked + other.checked,
            max(self.deviation, other.deviation),
        )

    def sentences(self, total: int, identity: EncoderIdentity) -> list[str]:
        """Say what deserves a warning, of `total` conversations; an empty list where there is nothing to say."""
        said = []
        if self.shortened:
            said.append(
                f"Conversations longer than the {identity.max_length} tokens that {identity.model} may be given, "
                f"embedded without the beginning of their prompts: {self.shortened:,} of {total:,}."
            )
        if self.control:
            said.append(
                f"Conversations in whose text control tokens of {identity.model} stand, and act as such: "
                f"{self.control:,} of {total:,}."
            )
        if identity.dtype in EXACT_TYPES and self.deviation > EXACT:
            said.append(
                f"conversations embedded together differ by up to {self.deviation:.0e} of their embeddings' length "
                "from the same ones on their own, which is more than rounding usually makes: batch_tokens=1 "
                "(--batch-tokens 1) runs every one on its own."
            )
        return said


class Placed(Protocol):
    """What runs together, of n conversations."""

    @property
    def places(self) -> list[int]:
        """Which of the n they are."""
        ...


@dataclass(frozen=True)
class Plan:
    """Batches in which every one of n conversations stands once, and what is to be said of them."""

    batches: tuple[Placed, ...]
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
