"""Interfaces of encoders, which compute an embedding for each conversation, and of their settings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Protocol

from lorerm.arrays import Floats32
from lorerm.data.conversation import Conversation
from lorerm.errors import DataError

Progress = Callable[[int, int], None]
"""Called after every batch with (number of conversations done, number of all conversations)."""


@dataclass(frozen=True)
class EncoderIdentity:
    """Everything that determines an encoder's embeddings. Embeddings with different identities are never mixed."""

    model: str
    """The model's id on the hub, the path of its folder as given, or the name of an encoder without a model."""
    revision: str | None
    """The commit on the hub, or a fingerprint of the folder's files. None if the version is unknown."""
    template: str
    """SHA-256 of the chat template. For an encoder without one: a description of how it reads a conversation."""
    pooling: str
    """The rule by which the hidden states of the tokens become one vector, for instance ``last-token``."""
    dtype: str
    """The number type in which the encoder computes, for instance ``bfloat16``."""
    max_length: int | None
    """The maximum number of tokens of a conversation; None means no limit."""
    dimension: int
    """D, the length of a vector."""

    def to_dict(self) -> dict[str, str | int | None]:
        """Return the fields as a JSON-serialisable dictionary."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EncoderIdentity:
        """Create an identity from the result of `to_dict`. Raises `DataError` if a field is missing or unknown."""
        expected = {field.name for field in fields(cls)}
        if wrong := expected.symmetric_difference(values):
            state = "lacks" if wrong <= expected else "has the unknown field"
            raise DataError(
                f"the recorded identity of the encoder {state} {', '.join(sorted(wrong))}",
                "embed the preferences again with this version of lorerm",
            )
        return cls(**values)


class Encoder(Protocol):
    """Interface of an encoder, which computes an embedding for each conversation."""

    @property
    def identity(self) -> EncoderIdentity:
        """Everything that determines the embeddings."""
        ...

    @property
    def reference(self) -> Floats32 | None:
        """The reward model's linear head, float32 [D]: ``embedding @ reference`` is its reward. None without a head."""
        ...

    @property
    def reference_reason(self) -> str | None:
        """Why there is no reference head; None if there is one."""
        ...

    def encode(self, conversations: Sequence[Conversation], progress: Progress | None = None) -> Floats32:
        """Compute the embedding of each conversation; it depends on that conversation only.

        Parameters
        ----------
        conversations
            n conversations, each a prompt with its response.
        progress
            Called after every batch with (number of conversations done, n).

        Returns
        -------
        numpy.ndarray
            float32 [n, D], in the order of the conversations.
        """
        ...


@dataclass(frozen=True)
class Execution:
    """Execution settings of an encoder, such as the device. They change embeddings by rounding at most.

    They are never read from a run folder. Otherwise a run folder from another user could, for instance, set
    `trust_remote_code`.
    """

    @property
    def uses_gpu(self) -> bool:
        """Whether the encoder runs on a GPU if there is one."""
        return False


@dataclass(frozen=True)
class EncoderSettings(ABC):
    """Base class of an encoder's settings: the options that affect its embeddings.

    The settings are recorded in the run folder (`manifest.json`). A subclass is a frozen dataclass with
    JSON-serialisable fields. Each field, here and in `execution`, becomes an option of the command; the docstring under
    it is the option's help text. The `metadata` of a field may have two entries:

    - `metavar`: the placeholder for the value in the help text;
    - `file`: True if the option takes the path of a text file, whose content becomes the value of the field.
    """

    execution: ClassVar[type[Execution]] = Execution
    """The class of the encoder's execution settings."""

    @abstractmethod
    def build(self, execution: Any) -> Encoder:  # noqa: ANN401 - an instance of the class `execution`
        """Build the encoder with these settings and the given execution settings."""

    @classmethod
    @abstractmethod
    def of_identity(cls, identity: EncoderIdentity) -> EncoderSettings | None:
        """Return settings that build an encoder with this identity.

        Settings that the identity does not determine keep their defaults. Return None if the identity belongs to
        another class of encoder.
        """

    @classmethod
    def read_execution(cls, values: Mapping[str, Any]) -> Execution:
        """Create the `execution` object from the entries of `values` that are its fields; ignore other entries."""
        names = {field.name for field in fields(cls.execution)}
        return cls.execution(**{name: value for name, value in values.items() if name in names})
