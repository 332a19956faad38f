"""Embedding into a run folder: in bounded memory, and to be killed at any moment.

The distinct conversations come in the order of their texts, a shard of them at a time. A shard is planned as a whole,
and every batch of the plan is kept as soon as it is computed; the plan depends on the shard's conversations alone, so
that whoever goes on does the same batches and ends with the same bytes.
"""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lorerm.data.conversation import conversation_key
from lorerm.embedding.batch_encoder import (
    N_CHECKED,
    EncodingSummary,
    InexactError,
    ShardEncoder,
    as_batch_encoder,
    encode_batch,
)
from lorerm.embedding.parts import Parts
from lorerm.embedding.responses import collect
from lorerm.embedding.shards import RESPONSES, make_folder, read_made_of, shards, write_tensor
from lorerm.embedding.store import EMBEDDINGS, Comparisons, check_encoder, finish, write_comparisons

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    from lorerm.data.conversation import Conversation
    from lorerm.data.preferences import Preferences
    from lorerm.data.shared import SharedPreferences
    from lorerm.embedding.batch_encoder import BatchEncoder
    from lorerm.embedding.encoder import Encoder, EncoderIdentity, Progress
    from lorerm.embedding.responses import DistinctResponses

    Chunks = Iterable[Preferences | SharedPreferences]

# Swept by the run folder where a killed process leaves it.
_DATABASE = ".conversations.partial.sqlite"


@dataclass(frozen=True)
class Embedded:
    """What was embedded into a run folder."""

    n_conversations: int
    """distinct ones"""
    remarks: EncodingSummary
    """what is to be said of them"""


def embed_into(
    run: str | Path,
    preferences: Chunks,
    encoder: Encoder,
    progress: Progress | None = None,
) -> Embedded:
    """Embed the preferences' distinct conversations into the store of a run folder, keeping what is there.

    Parameters
    ----------
    run
        The run folder.
    preferences
        In chunks; they are gone through twice, so that an iterator will not do.
    encoder
        The encoder. One that works in batches (`BatchEncoder`) repeats at most one of them after an interruption, one
        that has shards encoded by others (`ShardEncoder`) those that were not finished.
    progress
        Called with (conversations done, conversations in all).

    Raises
    ------
    DataError
        If the encoder gives NaN or infinite values, or cannot embed a conversation; the message names its user and
        prompt.
    RunError
        If the store was made by another encoder, or a file cannot be written.
    """
    folder = Path(run) / EMBEDDINGS
    check_encoder(run, encoder.identity)
    make_folder(folder)
    with collect(preferences, folder / _DATABASE) as distinct:
        total, remarks = len(distinct), EncodingSummary()
        work = _Work(as_batch_encoder(encoder), distinct, progress)
        if isinstance(encoder, ShardEncoder):
            work.elsewhere(encoder, shards(folder, total))
            work = replace(work, progress=None)  # of what is there by now
        for path, rows in shards(folder, total):
            remarks += work.shard(path, rows)
        write_comparisons(run, _comparisons(preferences, distinct))
    finish(Path(run), total, encoder.identity, encoder.reference, encoder.reference_reason)
    return Embedded(total, remarks)


@dataclass(frozen=True)
class _Work:
    encoder: BatchEncoder
    distinct: DistinctResponses
    progress: Progress | None

    def shard(self, path: Path, rows: slice) -> EncodingSummary:
        """See to it that a shard is there."""
        conversations = self.distinct.conversations(rows)
        made_of = _made_of(self.encoder.identity, conversations)
        remarks = _remarks_of(path, made_of)
        if remarks is None:
            parts = Parts(path.with_suffix(""), made_of)
            try:
                with self.distinct.naming(rows.start):
                    embeddings, remarks = self._embed(conversations, parts, rows.start)
            except InexactError:
                parts.remove()  # the batches that were not drawn for a check may be wrong as well
                raise
            _write(path, made_of, embeddings, remarks)
        self._tell(rows.stop)
        return remarks

    def elsewhere(self, encoder: ShardEncoder, wanted: Iterable[tuple[Path, slice]]) -> None:
        """Have the shards that are not there embedded by others, and keep each as it comes."""
        missing: list[tuple[Path, slice, dict[str, Any]]] = []
        done = 0
        for path, rows in wanted:
            made_of = _made_of(encoder.identity, self.distinct.conversations(rows))
            if _remarks_of(path, made_of) is None:
                missing.append((path, rows, made_of))
            else:
                done += rows.stop - rows.start
        self._tell(done)
        with closing(encoder.encode_shards(self.distinct.conversations(rows) for _, rows, _ in missing)) as encoded:
            for number, get in encoded:
                path, rows, made_of = missing[number]
                with self.distinct.naming(rows.start):
                    embeddings, remarks = get()
                _write(path, made_of, embeddings, remarks)
                done += rows.stop - rows.start
                self._tell(done)

    def _embed(
        self, conversations: Sequence[Conversation], parts: Parts, before: int
    ) -> tuple[npt.NDArray[np.float32], EncodingSummary]:
        """Embed a shard's conversations, batch by batch, as far as that is not done."""
        plan = self.encoder.plan(conversations, N_CHECKED)
        embeddings = np.empty((len(conversations), self.encoder.identity.dimension), dtype=np.float32)
        remarks, done = plan.summary, before
        for number, batch in enumerate(plan.batches):
            part = parts.read(number, batch)
            if part is None:
                part = encode_batch(self.encoder, batch)
                parts.write(number, batch, *part)
            embeddings[batch.indices], found = part
            remarks += found
            done += len(batch.indices)
            self._tell(done)
        return embeddings, remarks

    def _tell(self, done: int) -> None:
        if self.progress is not None:
            self.progress(done, len(self.distinct))


def _made_of(identity: EncoderIdentity, conversations: Sequence[Conversation]) -> dict[str, Any]:
    texts = hashlib.sha256("\n".join(conversation_key(conversation) for conversation in conversations).encode())
    return {"encoder": identity.to_dict(), "texts": texts.hexdigest()}


def _remarks_of(path: Path, made_of: dict[str, Any]) -> EncodingSummary | None:
    """Return what is to be said of a shard; None where it is not there, or is of something else."""
    found = read_made_of(path)
    remarks = found.pop("remarks", None)
    return None if remarks is None or found != made_of else EncodingSummary(**remarks)


def _write(path: Path, made_of: dict[str, Any], embeddings: npt.NDArray[np.float32], remarks: EncodingSummary) -> None:
    """Write a shard, and remove the batches that it takes the place of."""
    import torch

    write_tensor(path, RESPONSES, torch.from_numpy(embeddings), {**made_of, "remarks": asdict(remarks)})
    Parts(path.with_suffix(""), made_of).remove()


def _comparisons(preferences: Chunks, distinct: DistinctResponses) -> Iterator[Comparisons]:
    for some in preferences:
        yield Comparisons(some.user_ids, some.prompt_ids, *distinct.rows(some), some.splits, some.weights)
