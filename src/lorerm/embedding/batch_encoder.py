"""Encoding in batches that are planned beforehand, so that an interrupted command can keep every finished batch.

A `BatchEncoder`, such as `TransformersEncoder`, plans its own batches. Any other encoder runs on slices of the
conversations. A `ShardEncoder`, such as `RayEncoder`, has whole shards of conversations encoded by other processes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from lorerm.arrays import Floats32
from lorerm.data.conversation import Conversation
from lorerm.embedding.encoder import Encoder, EncoderIdentity, Progress
from lorerm.errors import DataError, ModelError

N_CHECKED = 3
"""Number of conversations of every shard that are embedded alone as well, to check the embeddings from batches."""
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
    """Some of the n conversations of a plan, which run together."""

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

    def plan(self, conversations: Sequence[Conversation], n_checked: int = 0) -> Plan:
        """Divide n conversations into batches, and mark `n_checked` random ones to be embedded alone as well.

        The plan depends on the conversations only, not on what was planned or run before.
        """
        ...

    def run(self, batch: Any) -> Floats32:  # noqa: ANN401 - the encoder's own type of batch
        """Embed one batch of the plan: float32 [m, D], in the order of `batch.indices`."""
        ...

    def check(self, batch: Any, embeddings: Floats32) -> EncodingSummary:  # noqa: ANN401
        """Embed the batch's marked conversations alone, and compare them with what `run` returned.

        A deviation larger than rounding can cause is an `InexactError`.
        """
        ...


@runtime_checkable
class ShardEncoder(Encoder, Protocol):
    """An encoder that has several shards of conversations encoded at once, by other processes."""

    def encode_shards(
        self, shards: Iterable[Sequence[Conversation]]
    ) -> Generator[tuple[int, Callable[[], tuple[Floats32, EncodingSummary]]]]:
        """Encode each shard as `encode_in_batches` does, and yield the shards as they are finished.

        Yields the shard's index among those given, and a function that returns what `encode_in_batches` returned for
        the shard, or raises what it raised.
        """
        ...


@dataclass(frozen=True)
class _Slice:
    """A batch for an encoder that plans none."""

    indices: list[int]
    conversations: Sequence[Conversation]


def running_settings(encoder: Encoder) -> dict[str, Any]:
    """Return how an encoder runs, for a manifest: its attribute `running`, which not every encoder has."""
    return dict(getattr(encoder, "running", {}))


def plan_encoding(encoder: Encoder, conversations: Sequence[Conversation], n_checked: int = N_CHECKED) -> Plan:
    """Divide n conversations into batches for `encode_batch`: as a `BatchEncoder` plans them, otherwise into slices."""
    if isinstance(encoder, BatchEncoder):
        return encoder.plan(conversations, n_checked)
    indices = list(range(len(conversations)))
    parts = [slice(start, start + _SLICE) for start in indices[::_SLICE]]
    return Plan(tuple(_Slice(indices[part], conversations[part]) for part in parts), EncodingSummary())


def encode_batch(encoder: Encoder, batch: Any) -> tuple[Floats32, EncodingSummary]:  # noqa: ANN401 - see `BatchEncoder`
    """Embed and check one batch of `plan_encoding`: float32 [m, D] in the order of `batch.indices`, and the summary.

    An embedding with a NaN or infinite component is a `DataError`. `BatchEncoder.check` may raise an `InexactError`.
    """
    rows = encoder.run(batch) if isinstance(encoder, BatchEncoder) else encoder.encode(batch.conversations)
    wrong = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if wrong.size:
        raise DataError(
            f"{encoder.identity.model} gives NaN or infinite values for conversations[{batch.indices[wrong[0]]}] in "
            f"{encoder.identity.dtype}",
            "embed with another dtype, such as bfloat16 or float32, or leave the conversation out",
            argument="dtype",
        )
    return rows, encoder.check(batch, rows) if isinstance(encoder, BatchEncoder) else EncodingSummary()


def encode_in_batches(
    encoder: Encoder,
    conversations: Sequence[Conversation],
    n_checked: int = N_CHECKED,
    progress: Progress | None = None,
    encode: Callable[[int, Any], tuple[Floats32, EncodingSummary]] | None = None,
) -> tuple[Floats32, EncodingSummary]:
    """Embed n conversations batch by batch: float32 [n, D] in the order given, and the summary.

    `encode` takes the index of a batch in the plan and the batch, in place of `encode_batch`.
    """
    plan = plan_encoding(encoder, conversations, n_checked)
    embeddings = np.empty((len(conversations), encoder.identity.dimension), dtype=np.float32)
    summary, done = plan.summary, 0
    for number, batch in enumerate(plan.batches):
        embeddings[batch.indices], found = encode_batch(encoder, batch) if encode is None else encode(number, batch)
        summary += found
        done += len(batch.indices)
        if progress is not None:
            progress(done, len(conversations))
    return embeddings, summary
