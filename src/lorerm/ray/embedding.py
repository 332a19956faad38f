"""Embed conversations on a Ray cluster: every worker has the encoder, and embeds one shard at a time."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

import numpy as np

from lorerm.arrays import Floats32
from lorerm.data.conversation import Conversation
from lorerm.embedding.batch_encoder import EncodingSummary, encode_in_batches, running_settings
from lorerm.embedding.encoder import Encoder, EncoderIdentity, Progress
from lorerm.embedding.store import spans
from lorerm.errors import LorermError, RunError
from lorerm.ray.cluster import Workers
from lorerm.ray.tasks import cluster_error, run_tasks

Embedded = tuple[Floats32, EncodingSummary]
# Identity, reference head, the reason why there is none, and how the encoder runs.
Description = tuple[EncoderIdentity, Floats32 | None, str | None, dict[str, Any]]


class RayEncoder:
    """Encoder that has conversations embedded by the workers of a Ray cluster.

    Its embeddings are those of the encoder that the workers build. A worker plans and embeds a whole shard, as this
    process would, so that equal machines give equal bytes.

    Parameters
    ----------
    make_encoder
        Builds the encoder; every worker calls it once. It is pickled.
    workers
        How many there are, and what each reserves, as `connected` yields them; the encoder works inside that context.

    Attributes
    ----------
    identity, reference, reference_reason
        Those of the encoder that a worker built, see `Encoder`.
    running
        How the workers run, and how many there are.

    Raises
    ------
    ModelError, ConfigError
        As `make_encoder` raises them on a worker.
    RunError
        If the cluster fails.
    """

    def __init__(self, make_encoder: Callable[[], Encoder], workers: Workers) -> None:
        self._make_encoder, self._workers = make_encoder, workers
        self.identity, reference, self.reference_reason, running = _describe(make_encoder, workers)
        self.reference = None if reference is None else reference.copy()  # Ray's arrays cannot be written to
        self.running = {**running, "engine": "ray", "workers": workers.number}

    def encode_shards(self, shards: Iterable[Sequence[Conversation]]) -> Generator[tuple[int, Callable[[], Embedded]]]:
        """Encode each shard on a worker, and yield the shards as they are finished; see `ShardEncoder`."""
        expected, make_encoder = self.identity, self._make_encoder

        def set_up() -> Callable[[Sequence[Conversation]], Embedded]:
            encoder = make_encoder()
            if encoder.identity != expected:
                raise RunError(
                    f"workers have different encoders: {encoder.identity} on one, {expected} on another",
                    "give all machines the same model, and choose --revision and --dtype",
                )
            return lambda conversations: encode_in_batches(encoder, conversations)

        return run_tasks(set_up, shards, self._workers)

    def encode(self, conversations: Sequence[Conversation], progress: Progress | None = None) -> Floats32:
        """Embed n conversations: float32 [n, D], in the order given; warns as `TransformersEncoder.encode` does."""
        embeddings = np.empty((len(conversations), self.identity.dimension), dtype=np.float32)
        shards = spans(len(conversations))
        summary, done = EncodingSummary(), 0
        for index, get in self.encode_shards(conversations[rows] for rows in shards):
            rows = shards[index]
            embeddings[rows], found = get()
            summary += found
            done += rows.stop - rows.start
            if progress is not None:
                progress(done, len(conversations))
        for warning in summary.warnings(len(conversations), self.identity):
            warnings.warn(warning, UserWarning, stacklevel=2)
        return embeddings


def _describe(make_encoder: Callable[[], Encoder], workers: Workers) -> Description:
    """Describe the encoder that a worker builds, because its model may not fit into the memory of this machine."""
    import ray

    def describe() -> Description | LorermError:
        try:
            encoder = make_encoder()
        except LorermError as error:
            return error
        return encoder.identity, encoder.reference, encoder.reference_reason, running_settings(encoder)

    # max_calls=1 ends the process, so that its memory is free before the workers load the model.
    task = ray.remote(num_cpus=workers.cpus, num_gpus=workers.gpus, max_calls=1)(describe)
    try:
        found: Description | LorermError = ray.get(task.remote())
    except ray.exceptions.RayError as error:
        raise cluster_error(error) from error
    if isinstance(found, LorermError):
        raise found
    return found
