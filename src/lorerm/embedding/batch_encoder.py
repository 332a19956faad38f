"""Encode conversations in batches. All batches are planned first, so that an interruption loses at most one batch.

- A `BatchEncoder`, such as `TransformersEncoder`, plans its own batches.
- A `ShardEncoder`, such as `RayEncoder`, sends whole shards (up to 1,024 conversations) to other processes.
- For any other encoder, a batch is a slice of the conversations.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from lorerm.arrays import Floats32
from lorerm.data.conversation import Conversation
from lorerm.embedding.checks import LARGEST
from lorerm.embedding.encoder import Encoder, EncoderIdentity, Progress
from lorerm.errors import DataError, ModelError

N_CHECKED = 3
"""Number of conversations per shard that are also embedded alone, to check the embeddings computed in batches."""
EXACT_TYPES = ("float32", "float64")
"""Number types in which batching changes embeddings only slightly, by at most `EXACT_DEVIATION`."""
EXACT_DEVIATION = 1e-5
"""Largest relative deviation that batching may cause in an exact type without a warning."""
# Conversations per batch, if the encoder does not plan its own batches.
_SLICE = 256


class InexactError(ModelError):
    """A conversation's embedding from a batch differs from its embedding alone by more than rounding."""


@dataclass(frozen=True)
class EncodingSummary:
    """Counts and check results from encoding conversations; `warnings` turns them into sentences."""

    shortened: int = 0
    """number of conversations longer than the model's maximum; the beginning of their prompts was cut off"""
    control: int = 0
    """number of conversations whose text contains control tokens of the model"""
    checked: int = 0
    """number of conversations that were also embedded alone, to check their embeddings from batches"""
    deviation: float = 0.0
    """largest deviation found by that check, relative to the norm of the embedding"""

    def __add__(self, other: EncodingSummary) -> EncodingSummary:
        return EncodingSummary(
            self.shortened + other.shortened,
            self.control + other.control,
            self.checked + other.checked,
            max(self.deviation, other.deviation),
        )

    def warnings(self, total: int, identity: EncoderIdentity) -> list[str]:
        """Return the warnings about encoding `total` conversations with the encoder `identity`, one sentence each."""
        found = []
        if self.shortened:
            found.append(
                f"Conversations longer than {identity.max_length} tokens, the maximum for {identity.model}: "
                f"{self.shortened:,} of {total:,}. They were embedded without the beginning of their prompts."
            )
        if self.control:
            found.append(
                f"Conversations whose text contains control tokens of {identity.model}: {self.control:,} of "
                f"{total:,}. The model interprets them as control tokens, not as text."
            )
        if identity.dtype in EXACT_TYPES and self.deviation > EXACT_DEVIATION:
            found.append(
                f"Embeddings computed in batches deviate by up to {self.deviation:.0e} of their norm from embeddings "
                "computed one by one. Rounding usually causes less. To embed one by one, set batch_tokens=1 "
                "(--batch-tokens 1)."
            )
        return found


class Batch(Protocol):
    """One batch of a plan: some of its n conversations, which are encoded together."""

    @property
    def indices(self) -> list[int]:
        """Indices of the batch's conversations among the n, in the order of the computed embeddings."""
        ...


@dataclass(frozen=True)
class Plan:
    """Batches that contain each of n conversations exactly once."""

    batches: tuple[Batch, ...]
    summary: EncodingSummary
    """counts that are known before a batch runs: shortened conversations, and conversations with control tokens"""


@runtime_checkable
class BatchEncoder(Encoder, Protocol):
    """An encoder that plans its batches before it runs them."""

    def plan(self, conversations: Sequence[Conversation], n_checked: int = 0) -> Plan:
        """Divide n conversations into batches, and mark `n_checked` of them, drawn at random, for `check`.

        The plan depends on the conversations only, not on earlier calls.
        """
        ...

    def run(self, batch: Any) -> Floats32:  # noqa: ANN401 - the encoder's own type of batch
        """Embed one batch of a plan: float32 [m, D], in the order of `batch.indices`."""
        ...

    def check(self, batch: Any, embeddings: Floats32) -> EncodingSummary:  # noqa: ANN401
        """Embed the batch's marked conversations alone, and compare the results with the embeddings from `run`.

        Raises `InexactError` if they differ by more than rounding can explain.
        """
        ...


@runtime_checkable
class ShardEncoder(Encoder, Protocol):
    """An encoder that encodes several shards of conversations in parallel, in other processes."""

    def encode_shards(
        self, shards: Iterable[Sequence[Conversation]]
    ) -> Generator[tuple[int, Callable[[], tuple[Floats32, EncodingSummary]]]]:
        """Encode each shard with `encode_in_batches`, and yield the shards in the order in which they finish.

        Yields the index of the shard in `shards`, and a function. The function returns the embeddings and the summary
        of the shard, or raises the error that encoding it raised.
        """
        ...


@dataclass(frozen=True)
class _Slice:
    """A batch for an encoder that does not plan its own batches."""

    indices: list[int]
    conversations: Sequence[Conversation]


def running_settings(encoder: Encoder) -> dict[str, Any]:
    """Return the encoder's execution settings for the manifest: its attribute `running`, or {} if it has none."""
    return dict(getattr(encoder, "running", {}))


def plan_encoding(encoder: Encoder, conversations: Sequence[Conversation], n_checked: int = N_CHECKED) -> Plan:
    """Divide n conversations into batches for `encode_batch`: the plan of a `BatchEncoder`, otherwise slices."""
    if isinstance(encoder, BatchEncoder):
        return encoder.plan(conversations, n_checked)
    indices = list(range(len(conversations)))
    parts = [slice(start, start + _SLICE) for start in indices[::_SLICE]]
    return Plan(tuple(_Slice(indices[part], conversations[part]) for part in parts), EncodingSummary())


def encode_batch(encoder: Encoder, batch: Any) -> tuple[Floats32, EncodingSummary]:  # noqa: ANN401 - see `BatchEncoder`
    """Embed and check one batch of `plan_encoding`: float32 [m, D] in the order of `batch.indices`, and the summary.

    Raises `DataError` if an embedding has a component that is NaN, infinite or so large that its square does not fit
    into float32. `BatchEncoder.check` may raise `InexactError`.
    """
    rows = encoder.run(batch) if isinstance(encoder, BatchEncoder) else encoder.encode(batch.conversations)
    wrong = np.flatnonzero(~(np.abs(rows) <= LARGEST).all(axis=1))  # also true for NaN
    if wrong.size:
        raise DataError(
            f"{encoder.identity.model} computes NaN, infinite or huge values for "
            f"conversations[{batch.indices[wrong[0]]}] in {encoder.identity.dtype}",
            "embed with another dtype, such as bfloat16 or float32, or remove the conversation",
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
    """Embed n conversations batch by batch: float32 [n, D] in their order, and the summary.

    `encode`, if given, replaces `encode_batch`. It is called with the index of the batch in the plan, and the batch.
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
