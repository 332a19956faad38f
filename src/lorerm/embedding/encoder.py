"""The interface of encoders, which turn conversations into vectors, and of their settings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Protocol

from lorerm.arrays import Floats32
from lorerm.data.conversation import Conversation
from lorerm.errors import DataError

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
        """Read what `to_dict` wrote; a missing or unknown field is a `DataError`."""
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
    def reference(self) -> Floats32 | None:
        """The reference head, float32 [D], such that ``embedding @ reference`` is the model's own reward; or None."""
        ...

    @property
    def reference_reason(self) -> str | None:
        """Why there is no reference head; None where there is one."""
        ...

    def encode(self, conversations: Sequence[Conversation], progress: Progress | None = None) -> Floats32:
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


@dataclass(frozen=True)
class Execution:
    """Running the encoder.

    Settings of how an encoder runs, which change its embeddings by rounding at most. They are never recorded in a run.
    Otherwise a run folder of another user could decide, for instance, that code that comes with a model is trusted.
    """

    @property
    def uses_gpu(self) -> bool:
        """Whether the encoder runs on a GPU where there is one."""
        return False


@dataclass(frozen=True)
class EncoderSettings(ABC):
    """Everything that a user sets to decide an encoder's embeddings; recorded in the run's manifest.

    A subclass is a frozen dataclass whose fields JSON can hold. Each field, here and in `execution`, is an option of
    the command, and the docstring under it is the option's help. A field's `metadata` may have two entries: `metavar`,
    the placeholder in the help, and `file`, which says that the option is the path of a text file and the field its
    content.
    """

    execution: ClassVar[type[Execution]] = Execution
    """The class of the settings of how the encoder runs."""

    @abstractmethod
    def build(self, execution: Any) -> Encoder:  # noqa: ANN401 - an instance of the class `execution`
        """Build the encoder, to run as `execution` says."""

    @classmethod
    @abstractmethod
    def of_identity(cls, identity: EncoderIdentity) -> EncoderSettings | None:
        """Return settings of the encoder with this identity; None if another kind of encoder has it.

        A setting that the identity does not determine keeps its default.
        """

    @classmethod
    def read_execution(cls, values: Mapping[str, Any]) -> Execution:
        """Return how the encoder runs from those of the values that are settings of its `execution`."""
        names = {field.name for field in fields(cls.execution)}
        return cls.execution(**{name: value for name, value in values.items() if name in names})
