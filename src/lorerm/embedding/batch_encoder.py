"""Encoders that work in batches: one at a time, so that whoever drives them can keep what each gave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from lorerm.embedding.encoder import Encoder
from lorerm.embedding.transformers.planning import Plan, Remarks
from lorerm.errors import DataError, ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    import numpy.typing as npt

    from lorerm.data.conversation import Conversation
    from lorerm.embedding.encoder import EncoderIdentity, Progress
    from lorerm.embedding.transformers.planning import Placed

N_CHECKED = 3
"""Conversations of every window that are embedded on their own as well."""
# Conversations of a batch of an encoder that makes no plans.
_SLICE = 256


class InexactError(ModelError):
    """Embeddings differ from those of the same conversations on their own by more than rounding can make."""


@runtime_checkable
class BatchEncoder(Encoder, Protocol):
    """An encoder that says beforehand what it will run together."""

    @property
    def running(self) -> dict[str, Any]:
        """How it runs, as JSON-able values: what changes its numbers by rounding at most."""
        ...

    def plan(self, conversations: Sequence[Conversation], n_checked: int = 0) -> Plan:
        """Divide n conversations into batches, and mark `n_checked` of them, drawn at random, for a check.

        Equal conversations give equal plans, whatever was planned or run before.
        """
        ...

    def run(self, batch: Any) -> npt.NDArray[np.float32]:  # noqa: ANN401 - the encoder's own
        """Embed one of the plan's batches: float32 [len(batch.places), D], in the order of the places."""
        ...

    def check(self, batch: Any, embeddings: npt.NDArray[np.float32]) -> Remarks:  # noqa: ANN401
        """Compare what `run` gave with the marked conversations on their own; raise `InexactError` if it is wrong."""
        ...


@runtime_checkable
class ShardEncoder(Encoder, Protocol):
    """An encoder that has many shards of conversations encoded at once, by others."""

    @property
    def running(self) -> dict[str, Any]:
        """As for a `BatchEncoder`."""
        ...

    def encode_shards(
        self, shards: Iterable[Sequence[Conversation]]
    ) -> Generator[tuple[int, Callable[[], tuple[npt.NDArray[np.float32], Remarks]]]]:
        """Encode every shard as `encode_in_batches` does, and yield them as they are finished.

        Yields
        ------
        number : int
            The shard's place among those given.
        get : callable
            Returns what `encode_in_batches` returned, or raises what it raised.
        """
        ...


def encode_in_batches(
    encoder: Encoder,
    conversations: Sequence[Conversation],
    n_checked: int = N_CHECKED,
    progress: Progress | None = None,
) -> tuple[npt.NDArray[np.float32], Remarks]:
    """Embed n conversations: float32 [n, D], in the order given, and what is to be said of them."""
    work = in_batches(encoder)
    plan = work.plan(conversations, n_checked)
    embeddings = np.empty((len(conversations), encoder.identity.dimension), dtype=np.float32)
    remarks, done = plan.remarks, 0
    for batch in plan.batches:
        embeddings[batch.places], found = run_batch(work, batch)
        remarks += found
        done += len(batch.places)
        if progress is not None:
            progress(done, len(conversations))
    return embeddings, remarks


def run_batch(encoder: BatchEncoder, batch: Placed) -> tuple[npt.NDArray[np.float32], Remarks]:
    """Embed one batch, check it, and refuse NaN and infinite values."""
    rows = encoder.run(batch)
    wrong = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if wrong.size:
        raise DataError(
            f"the embedding of conversations[{batch.places[wrong[0]]}] holds NaN or infinite values",
            "embed with another dtype, or leave the conversation out",
        )
    return rows, encoder.check(batch, rows)


def in_batches(encoder: Encoder) -> BatchEncoder:
    """Return the encoder itself, or one around it that runs conversations in the order in which they come."""
    return encoder if isinstance(encoder, BatchEncoder) else _InOrder(encoder)


@dataclass(frozen=True)
class _Slice:
    """Conversations that follow each other."""

    places: list[int]
    conversations: Sequence[Conversation]


@dataclass(frozen=True)
class _InOrder:
    """Lets an encoder that plans nothing work in slices."""

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
        places = range(len(conversations))
        slices = [places[start : start + _SLICE] for start in places[::_SLICE]]
        return Plan(tuple(_Slice(list(some), conversations[some.start : some.stop]) for some in slices), Remarks())

    def run(self, batch: _Slice) -> npt.NDArray[np.float32]:
        return self.encoder.encode(batch.conversations)

    def check(self, batch: _Slice, embeddings: npt.NDArray[np.float32]) -> Remarks:  # noqa: ARG002
        return Remarks()
