"""The protocol of encoders, which turn conversations into vectors; their identity and their settings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

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


E = TypeVar("E", bound=Execution)


@dataclass(frozen=True)
class EncoderSettings(ABC, Generic[E]):
    """Everything that a user sets to decide an encoder's embeddings; recorded in the run's manifest.

    A subclass is a frozen dataclass of JSON-able fields. Each field, here and in `execution`, is an option of the
    command, and the docstring under it is the option's help. `metadata` of a field may have `metavar`, the placeholder
    in the help, and `file`, which makes the option the path of a text file whose content is the value.
    """

    execution: ClassVar[type[Execution]] = Execution
    """The class of the settings of how the encoder runs."""

    @abstractmethod
    def build(self, execution: E) -> Encoder:
        """Build the encoder, to run as `execution` says."""

    @classmethod
    @abstractmethod
    def of_identity(cls, identity: EncoderIdentity) -> EncoderSettings[E] | None:
        """Return settings of the encoder with this identity; None if the identity is that of another encoder.

        What the identity does not say keeps its default.
        """

    @classmethod
    def read_execution(cls, values: Mapping[str, Any]) -> E:
        """Return the settings of how the encoder runs, with those values that it has."""
        names = [field.name for field in fields(cls.execution)]
        return cls.execution(**{name: value for name, value in values.items() if name in names})  # type: ignore[return-value]
