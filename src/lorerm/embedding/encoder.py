"""The protocol of encoders, which turn conversations into vectors, and the identity that names their numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol

from lorerm.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from lorerm.data.conversation import Conversation

Progress = Callable[[int, int], None]
"""Called after every batch with the number of conversations done and the number of all."""


@dataclass(frozen=True)
class EncoderIdentity:
    """Everything that decides an encoder's embeddings; embeddings of different identities are never mixed."""

    model: str
    """The model's id on the hub, the path of its folder as given, or the name of an encoder without a model."""
    revision: str | None
    """The commit on the hub, a fingerprint of the folder's files, or None where the model has no versions."""
    template: str
    """SHA-256 of the chat template, or a description of how the encoder reads a conversation without one."""
    pooling: str
    """How the hidden states of the tokens become one vector, for instance ``last-token``."""
    dtype: str
    """The number type in which the encoder computes, for instance ``bfloat16``."""
    max_length: int | None
    """The maximum number of tokens of a conversation; None means any number."""
    dimension: int
    """D, the length of a vector."""

    def to_dict(self) -> dict[str, str | int | None]:
        """Return the fields as a dictionary that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EncoderIdentity:
        """Read what `to_dict` wrote.

        Raises
        ------
        DataError
            If a field is missing or unknown.
        """
        expected = {field.name for field in fields(cls)}
        if wrong := expected.symmetric_difference(values):
            state = "lacks" if wrong <= expected else "has the unknown field"
            raise DataError(
                f"the recorded identity of the encoder {state} {', '.join(sorted(wrong))}",
                "embed the preferences again with this version of lorerm",
            )
        return cls(**values)


class Encoder(Protocol):
    """Anything that turns conversations into vectors."""

    @property
    def identity(self) -> EncoderIdentity:
        """Everything that decides the embeddings."""
        ...

    @property
    def reference(self) -> npt.NDArray[np.float32] | None:
        """The reference head, float32 [D], such that ``embedding @ reference`` is the model's own reward; or None."""
        ...

    @property
    def reference_reason(self) -> str | None:
        """Why there is no reference head; None where there is one."""
        ...

    def encode(
        self, conversations: Sequence[Conversation], progress: Progress | None = None
    ) -> npt.NDArray[np.float32]:
        """Encode conversations; a vector depends on its own conversation only.

        Parameters
        ----------
        conversations
            n conversations, each a prompt with its response.
        progress
            Called after every batch with the number of conversations done, and n.

        Returns
        -------
        numpy.ndarray
            float32 [n, D], in the order given.
        """
        ...
