"""Encoders that run conversations in batches, planned beforehand, so that every finished batch can be kept.

`TransformersEncoder` plans its batches itself (`BatchEncoder`). Other encoders are run on slices of the conversations.
`RayEncoder` has whole shards encoded by the workers of a cluster (`ShardEncoder`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from lorerm.embedding.encoder import Encoder
from lorerm.errors import DataError, ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    import numpy.typing as npt

    from lorerm.data.conversation import Conversation
    from lorerm.embedding.encoder import EncoderIdentity, Progress

N_CHECKED = 3
"""Conversations of every shard that are also embedded alone, and compared."""
EXACT_TYPES = ("float32", "float64")
EXACT_DEVIATION = 1e-5
"""Largest relative deviation that batching may cause in these types without a warning."""
# Conversations per slice, for an encoder that plans no batches of its own.
_SLICE = 256


class InexactError(ModelError):
    """An embedding from a batch deviates by more than rounding from that of the same conversation alone."""


@dataclass(frozen=True)
class EncodingSummary:
    """Counts and checks of encoding some conversations, from which its warnings are made."""

    shortened: int = 0
    """number of conversations longer than the model's maximum, whose prompts lost text at the beginning"""
    control: int = 0
    """number of conversations whose text contains control tokens of the model"""
    checked: int = 0
    """number of conversations that were also embedded alone, for comparison"""
    deviation: float = 0.0
    """largest deviation found by that comparison, relative to the embedding's length"""

    def __add__(self, other: EncodingSummary) -> EncodingSummary:
        return EncodingSummary(
            self.shortened + other.shortened,
            self.control + other.control,
            self.checked + other.checked,
            max(self.deviation, other.deviation),
        )

    def warnings(self, total: int, identity: EncoderIdentity) -> list[str]:
        """Return the warnings to show, as sentences, for `total` conversations encoded by the encoder `identity`."""
        found = []
        if self.shortened:
            found.append(
                f"Conversations longer than the {identity.max_length} tokens that {identity.model} takes, embedded "
                f"without the beginning of their prompts: {self.shortened:,} of {total:,}."
            )
        if self.control:
            found.append(
                f"Conversations whose text contains control tokens of {identity.model}, which act as such: "
                f"{self.control:,} of {total:,}."
            )
        if identity.dtype in EXACT_TYPES and self.deviation > EXACT_DEVIATION:
            found.append(
                f"Embeddings computed in batches deviate by up to {self.deviation:.0e} of their length from those "
                "computed one by one, which is more than rounding usually causes: batch_tokens=1 (--batch-tokens 1) "
                "embeds one by one."
            )
        return found


class Batch(Protocol):
    """Conversations, out of the n that were planned, that run together."""

    @property
    def indices(self) -> list[int]:
        """Indices of the batch's conversations among the n, in the order in which their embeddings come."""
        ...


@dataclass(frozen=True)
class Plan:
    """Batches that contain each of n conversations exactly once."""

    batches: tuple[Batch, ...]
    summary: EncodingSummary
    """what planning found: shortened conversations and control tokens"""


@runtime_checkable
class BatchEncoder(Encoder, Protocol):
    """An encoder that plans its batches before it runs them."""

    @property
    def running(self) -> dict[str, Any]:
        """How it runs, as JSON-able values; these settings change embeddings by rounding at most."""
        ...

    def plan(self, conversations: Sequence[Conversation], n_checked: int = 0) -> Plan:
        """Divide n conversations into batches, and mark `n_checked` random ones to be embedded alone as well.

        The plan depends on the conversations only, not on what was planned or run before.
        """
        ...

    def run(self, batch: Any) -> npt.NDArray[np.float32]:  # noqa: ANN401 - the encoder's own type of batch
        """Embed one batch of the plan: float32 [m, D], in the order of `batch.indices`."""
        ...

    def check(self, batch: Any, embeddings: npt.NDArray[np.float32]) -> EncodingSummary:  # noqa: ANN401
        """Embed the batch's marked conversations alone, and compare them with what `run` returned.

        Raises
        ------
        InexactError
            If one of them deviates by more than rounding can cause.
        """
        ...


@runtime_checkable
class ShardEncoder(Encoder, Protocol):
    """An encoder that has several shards of conversations encoded at once, by other processes."""

    @property
    def running(self) -> dict[str, Any]:
        """As for a `BatchEncoder`."""
        ...

    def encode_shards(
        self, shards: Iterable[Sequence[Conversation]]
    ) -> Generator[tuple[int, Callable[[], tuple[npt.NDArray[np.float32], EncodingSummary]]]]:
        """Encode each shard as `encode_in_batches` does, and yield the shards as they are finished.

        Yields
        ------
        index : int
            The shard's index among those given.
        get : callable
            Returns what `encode_in_batches` returned for the shard, or raises what it raised.
        """
        ...


def encode_in_batches(
    encoder: Encoder,
    conversations: Sequence[Conversation],
    n_checked: int = N_CHECKED,
    progress: Progress | None = None,
) -> tuple[npt.NDArray[np.float32], EncodingSummary]:
    """Embed n conversations batch by batch: float32 [n, D] in the order given, and the summary."""
    batch_encoder = as_batch_encoder(encoder)
    plan = batch_encoder.plan(conversations, n_checked)
    embeddings = np.empty((len(conversations), encoder.identity.dimension), dtype=np.float32)
    summary, done = plan.summary, 0
    for batch in plan.batches:
        embeddings[batch.indices], found = encode_batch(batch_encoder, batch)
        summary += found
        done += len(batch.indices)
        if progress is not None:
            progress(done, len(conversations))
    return embeddings, summary


def encode_batch(encoder: BatchEncoder, batch: Batch) -> tuple[npt.NDArray[np.float32], EncodingSummary]:
    """Embed one batch and check it.

    Raises
    ------
    DataError
        If an embedding has a NaN or infinite component.
    InexactError
        As `BatchEncoder.check` raises it.
    """
    rows = encoder.run(batch)
    wrong = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if wrong.size:
        raise DataError(
            f"the embedding of conversations[{batch.indices[wrong[0]]}] has NaN or infinite values",
            "embed with another dtype, or leave the conversation out",
        )
    return rows, encoder.check(batch, rows)


def as_batch_encoder(encoder: Encoder) -> BatchEncoder:
    """Return the encoder itself if it plans batches, otherwise a wrapper that runs it on slices of conversations."""
    return encoder if isinstance(encoder, BatchEncoder) else _SlicedEncoder(encoder)


@dataclass(frozen=True)
class _Slice:
    indices: list[int]
    conversations: Sequence[Conversation]


@dataclass(frozen=True)
class _SlicedEncoder:
    encoder: Encoder

    @property
    def identity(self) -> EncoderIdentity:
        return self.encoder.identity

    @property
    def reference(self) -> npt.NDArray[np.float32] | None:
        return self.encoder.reference

    @property
    def reference_reason(self) -> str | None:
        return self.encoder.reference_reason

    @property
    def running(self) -> dict[str, Any]:
        return dict(getattr(self.encoder, "running", {}))

    def encode(
        self, conversations: Sequence[Conversation], progress: Progress | None = None
    ) -> npt.NDArray[np.float32]:
        return self.encoder.encode(conversations, progress)

    def plan(self, conversations: Sequence[Conversation], n_checked: int = 0) -> Plan:  # noqa: ARG002
        indices = range(len(conversations))
        slices = [indices[start : start + _SLICE] for start in indices[::_SLICE]]
        batches = tuple(_Slice(list(part), conversations[part.start : part.stop]) for part in slices)
        return Plan(batches, EncodingSummary())

    def run(self, batch: _Slice) -> npt.NDArray[np.float32]:
        return self.encoder.encode(batch.conversations)

    def check(self, batch: _Slice, embeddings: npt.NDArray[np.float32]) -> EncodingSummary:  # noqa: ARG002
        return EncodingSummary()
