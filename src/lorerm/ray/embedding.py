"""Conversations embedded on a Ray cluster: every worker holds the encoder, and takes a shard at a time."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lorerm.embedding.batch_encoder import EncodingSummary, as_batch_encoder, encode_in_batches
from lorerm.embedding.shards import spans
from lorerm.errors import LorermError, RunError
from lorerm.ray.cluster import import_ray
from lorerm.ray.pool import cluster_failed, run_pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    import numpy.typing as npt

    from lorerm.data.conversation import Conversation
    from lorerm.embedding.encoder import Encoder, EncoderIdentity, Progress
    from lorerm.ray.cluster import Workers

    Embedded = tuple[npt.NDArray[np.float32], EncodingSummary]


@dataclass(frozen=True)
class _Description:
    """What an encoder says of itself on a worker."""

    identity: EncoderIdentity
    reference: npt.NDArray[np.float32] | None
    reference_reason: str | None
    running: dict[str, Any]


class RayEncoder:
    """An encoder whose conversations are embedded by the workers of a Ray cluster.

    Its numbers are those of the encoder that the workers make; a shard is planned and embedded by one of them as it
    would be here, so that equal machines give equal bytes.

    Parameters
    ----------
    make_encoder
        Makes the encoder; every worker calls it once. It is pickled.
    workers
        How many there are, and what each reserves: as `connected` says, within which the encoder works.

    Raises
    ------
    ModelError, ConfigError
        As `make_encoder` raises them on a worker.
    RunError
        If the cluster fails.
    """

    def __init__(self, make_encoder: Callable[[], Encoder], workers: Workers) -> None:
        self._make_encoder, self._workers = make_encoder, workers
        self._described = _describe(make_encoder, workers)

    @property
    def identity(self) -> EncoderIdentity:
        """All that decides the numbers."""
        return self._described.identity

    @property
    def reference(self) -> npt.NDArray[np.float32] | None:
        """The reference head, float32 [D], or None."""
        reference = self._described.reference
        return None if reference is None else reference.copy()

    @property
    def reference_reason(self) -> str | None:
        """Why there is no reference head; None where there is one."""
        return self._described.reference_reason

    @property
    def running(self) -> dict[str, Any]:
        """How the workers run, and how many they are."""
        return {**self._described.running, "engine": "ray", "workers": self._workers.number}

    def encode_shards(self, shards: Iterable[Sequence[Conversation]]) -> Generator[tuple[int, Callable[[], Embedded]]]:
        """Encode every shard on a worker, and yield them as they are finished; see `ShardEncoder`."""
        expected, make_encoder = self.identity, self._make_encoder

        def make_work() -> Callable[[Sequence[Conversation]], Embedded]:
            encoder = make_encoder()
            if encoder.identity != expected:
                raise RunError(
                    f"the workers disagree on the encoder: {encoder.identity} on one, {expected} on another",
                    "give all machines the same model, and name --revision and --dtype",
                )
            return lambda conversations: encode_in_batches(encoder, conversations)

        for outcome in run_pieces(import_ray(), make_work, shards, self._workers):
            yield outcome.number, outcome.get

    def encode(
        self, conversations: Sequence[Conversation], progress: Progress | None = None
    ) -> npt.NDArray[np.float32]:
        """Embed n conversations: float32 [n, D], in the order given; warns as `TransformersEncoder.encode` does."""
        embeddings = np.empty((len(conversations), self.identity.dimension), dtype=np.float32)
        parts = spans(len(conversations))
        remarks, done = EncodingSummary(), 0
        for number, get in self.encode_shards(conversations[rows] for rows in parts):
            rows = parts[number]
            embeddings[rows], found = get()
            remarks += found
            done += rows.stop - rows.start
            if progress is not None:
                progress(done, len(conversations))
        for sentence in remarks.warnings(len(conversations), self.identity):
            warnings.warn(sentence, UserWarning, stacklevel=2)
        return embeddings


def _describe(make_encoder: Callable[[], Encoder], workers: Workers) -> _Description:
    """Ask a worker, as the model may not fit here, about the encoder."""
    ray = import_ray()

    def describe() -> _Description | LorermError:
        try:
            encoder = make_encoder()
        except LorermError as error:
            return error
        running = as_batch_encoder(encoder).running
        return _Description(encoder.identity, encoder.reference, encoder.reference_reason, running)

    # Its memory is free again before others load the model.
    task = ray.remote(num_cpus=workers.cpus, num_gpus=workers.gpus, max_calls=1)(describe)
    try:
        found = ray.get(task.remote())
    except ray.exceptions.RayError as error:
        raise cluster_failed(error) from error
    if isinstance(found, LorermError):
        raise found
    described: _Description = found
    return described
