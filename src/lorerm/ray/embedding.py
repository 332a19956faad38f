"""Embed conversations on a Ray cluster: every worker builds the encoder, and embeds one shard at a time."""

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
# An encoder's identity, its reference head (the reward model's own linear head), the reason if it has none, and its
# execution settings.
Description = tuple[EncoderIdentity, Floats32 | None, str | None, dict[str, Any]]


class RayEncoder:
    """Encoder that runs on the workers of a Ray cluster.

    Every worker builds the same encoder. A worker plans and embeds whole shards exactly as this process would, so that
    equal input gives identical bytes on equal machines.

    Parameters
    ----------
    make_encoder
        Builds the encoder. It is pickled, and called once on every worker.
    workers
        The workers that `connected` yields. The encoder can be used only within that context.

    Attributes
    ----------
    identity, reference, reference_reason
        The attributes of the encoder that a worker built; see `Encoder`.
    running
        The execution settings of that encoder, and the number of workers.

    Raises
    ------
    ModelError, ConfigError
        If `make_encoder` raises them on a worker.
    RunError
        If the cluster fails.
    """

    def __init__(self, make_encoder: Callable[[], Encoder], workers: Workers) -> None:
        self._make_encoder, self._workers = make_encoder, workers
        self.identity, reference, self.reference_reason, running = _describe(make_encoder, workers)
        self.reference = None if reference is None else reference.copy()  # arrays from Ray are read-only
        self.running = {**running, "engine": "ray", "workers": workers.number}

    def encode_shards(self, shards: Iterable[Sequence[Conversation]]) -> Generator[tuple[int, Callable[[], Embedded]]]:
        """Encode each shard on a worker; yield the shards in the order in which they finish. See `ShardEncoder`."""
        expected, make_encoder = self.identity, self._make_encoder

        def set_up() -> Callable[[Sequence[Conversation]], Embedded]:
            encoder = make_encoder()
            if encoder.identity != expected:
                raise RunError(
                    f"workers have different encoders: {encoder.identity} on one, {expected} on another",
                    "install the same model on all machines, and set --revision and --dtype",
                )
            return lambda conversations: encode_in_batches(encoder, conversations)

        return run_tasks(set_up, shards, self._workers)

    def encode(self, conversations: Sequence[Conversation], progress: Progress | None = None) -> Floats32:
        """Embed n conversations: float32 [n, D], in their order; warns as `TransformersEncoder.encode` does."""
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
    """Build the encoder on a worker and return its description; the model may not fit into this machine's memory."""
    import ray

    def describe() -> Description | LorermError:
        try:
            encoder = make_encoder()
        except LorermError as error:
            return error
        return encoder.identity, encoder.reference, encoder.reference_reason, running_settings(encoder)

    # max_calls=1 ends the worker process after the call. So its memory is free before the workers load the model.
    task = ray.remote(num_cpus=workers.cpus, num_gpus=workers.gpus, max_calls=1)(describe)
    try:
        found: Description | LorermError = ray.get(task.remote())
    except ray.exceptions.RayError as error:
        raise cluster_error(error) from error
    if isinstance(found, LorermError):
        raise found
    return found
