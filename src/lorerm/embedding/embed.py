"""Embed the conversations of comparisons, in memory or into a run folder.

In a run folder (the folder that `lorerm run` writes), the conversations are embedded one shard at a time, in the order
of `responses.parquet`, so that memory is bounded. A shard has up to 1,024 conversations. It is divided into batches,
and every batch is stored as soon as it is computed: an interruption loses at most one batch. The division depends on
the shard's conversations only, so that a repeated command runs the same batches, and equal input gives identical bytes.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lorerm.data.conversation import conversation_key
from lorerm.data.responses import read_responses
from lorerm.data.stored import StoredResponses, load_comparisons
from lorerm.embedding.batch_encoder import (
    EncodingSummary,
    InexactError,
    ShardEncoder,
    encode_batch,
    encode_in_batches,
)
from lorerm.embedding.checks import check_usable
from lorerm.embedding.embedded_preferences import EmbeddedPreferences
from lorerm.embedding.store import (
    EMBEDDINGS,
    RESPONSES,
    ShardBatches,
    check_encoder,
    finish,
    make_folder,
    read_provenance,
    shards,
    spans,
    write_tensor,
)
from lorerm.errors import DataError, ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from lorerm.arrays import Floats32, Ints
    from lorerm.data.conversation import Conversation
    from lorerm.data.preferences import Preferences
    from lorerm.embedding.batch_encoder import Batch
    from lorerm.embedding.encoder import Encoder, Progress

# How an encoder's error message refers to one of the conversations passed to it.
_ENTRY = re.compile(r"conversations\[(\d+)\]")


def embed(preferences: Preferences, encoder: Encoder, progress: Progress | None = None) -> EmbeddedPreferences:
    """Compute the embedding of each distinct conversation (a prompt with a response).

    Parameters
    ----------
    preferences
        n comparisons with their texts.
    encoder
        For instance `HashingEncoder()` or `TransformersEncoder("ID_OR_PATH")`.
    progress
        Called with (number of conversations done, number of all conversations).

    Returns
    -------
    EmbeddedPreferences
        The n comparisons, in the order of `preferences`, and the embeddings.

    Raises
    ------
    DataError, ModelError
        If the encoder cannot embed a conversation, or computes NaN or numbers of an unusable scale. The error names the
        user and the prompt. Also if nearly all of at least 10 comparisons have two responses with the same embedding.

    Warns
    -----
    UserWarning
        If prompts were shortened, the text of some conversations contains the model's control tokens, embeddings have
        an unusual scale, or the two responses of some comparisons have the same embedding.
    """
    embedded, summary = embed_with_summary(preferences, encoder, progress)
    found = summary.warnings(len(embedded.responses), encoder.identity)
    for sentence in [*found, *check_usable(embedded.responses, embedded)]:
        warnings.warn(sentence, UserWarning, stacklevel=2)
    return embedded


def embed_with_summary(
    preferences: Preferences, encoder: Encoder, progress: Progress | None = None
) -> tuple[EmbeddedPreferences, EncodingSummary]:
    """Compute the same as `embed`; return the summary instead of issuing warnings."""
    ordered = preferences.canonical()
    total, summary, done = len(ordered.responses), EncodingSummary(), 0
    embeddings = np.empty((total, encoder.identity.dimension), dtype=np.float32)
    parts = spans(total)

    def report(done: int) -> None:
        if progress is not None:
            progress(done, total)

    def conversations(rows: slice) -> list[Conversation]:
        some = ordered.responses.slice(rows.start, rows.stop - rows.start)
        return [prompt + response for prompt, response in read_responses(some)]

    with closing(_encode_spans(encoder, conversations, parts, report)) as encoded:
        for number, get in encoded:
            rows = parts[number]
            with _naming(ordered.describe_response, np.arange(rows.start, rows.stop)):
                embeddings[rows], found = get()
            summary += found
            done += rows.stop - rows.start
            report(done)
    embedded = EmbeddedPreferences.join(ordered, embeddings, encoder.identity, encoder.reference)
    if all(label is None for label in ordered.splits):
        embedded = replace(embedded, splits=None)
    return embedded, summary


def _encode_spans(
    encoder: Encoder,
    conversations: Callable[[slice], Sequence[Conversation]],
    parts: Sequence[slice],
    report: Callable[[int], None],
) -> Generator[tuple[int, Callable[[], tuple[Floats32, EncodingSummary]]]]:
    """Yield the index of each part, and a function that returns the embeddings and the summary of the part."""
    if isinstance(encoder, ShardEncoder):
        yield from encoder.encode_shards(conversations(rows) for rows in parts)
        return
    for number, rows in enumerate(parts):
        # The default of `before` keeps this part's start: the function is called after the loop has gone on.
        def report_part(done: int, _: int, before: int = rows.start) -> None:
            report(before + done)

        yield number, partial(encode_in_batches, encoder, conversations(rows), progress=report_part)


@contextmanager
def _naming(describe: Callable[[int], str], rows: Ints) -> Iterator[None]:
    """Replace `conversations[i]` in an encoder's errors by a description of row `rows[i]` (see `describe_response`)."""
    try:
        yield
    except (DataError, ModelError) as error:
        problem = _ENTRY.sub(lambda entry: describe(int(rows[int(entry[1])])), error.problem)
        raise type(error)(problem, error.remedy, **asdict(error.location)) from error


def embed_run(run: str | Path, encoder: Encoder, progress: Progress | None = None) -> tuple[int, EncodingSummary]:
    """Embed the conversations in a run folder's `responses.parquet`; return their number and their summary.

    Finished work is kept: an interruption loses at most one batch or, with a `ShardEncoder`, the unfinished shards.
    `progress` is called with (number of conversations done, number of all conversations).

    Raises `RunError` if the folder contains embeddings from another encoder. If the encoder cannot embed a
    conversation, or computes NaN, the error names the user and the prompt.
    """
    folder = Path(run) / EMBEDDINGS
    check_encoder(run, encoder.identity)
    stored = StoredResponses(run)
    make_folder(folder)
    n_conversations, summary = 0, EncodingSummary()
    work = _RunWork(Path(run), encoder, stored, progress)
    wanted = shards(folder, len(stored))
    if isinstance(encoder, ShardEncoder):
        work.encode_elsewhere(encoder, wanted)
        work = replace(work, progress=None)  # all shards are now finished, and their progress has been reported
    for path, rows in wanted:
        n, found = work.finish_shard(path, rows)
        n_conversations += n
        summary += found
    finish(Path(run), len(stored), encoder.identity, encoder.reference, encoder.reference_reason)
    return n_conversations, summary


@dataclass(frozen=True)
class _RunWork:
    run: Path
    encoder: Encoder
    stored: StoredResponses
    progress: Progress | None

    def finish_shard(self, path: Path, rows: slice) -> tuple[int, EncodingSummary]:
        """Embed a shard unless it is finished; return the number of its conversations and their summary."""
        index, conversations, provenance = self._read(rows)
        summary = _finished_summary(path, provenance)
        if summary is None:
            batches = ShardBatches(path.with_suffix(""), provenance)
            try:
                with _naming(self._describe, index + rows.start):
                    embeddings, summary = self._embed(conversations, batches, rows.start)
            except InexactError:
                batches.remove()  # unchecked batches may be wrong as well
                raise
            _write(path, rows, index, provenance, embeddings, summary)
        self._report(rows.stop)
        return len(conversations), summary

    def encode_elsewhere(self, encoder: ShardEncoder, wanted: Iterable[tuple[Path, slice]]) -> None:
        """Embed the unfinished shards in the encoder's other processes, and write each as soon as it is finished."""
        missing: list[tuple[Path, slice, Ints, dict[str, Any]]] = []
        done = 0
        for path, rows in wanted:
            index, conversations, provenance = self._read(rows)
            if conversations and _finished_summary(path, provenance) is None:
                missing.append((path, rows, index, provenance))
            else:
                done += rows.stop - rows.start
        self._report(done)
        # The conversations are read again, so that `missing` does not keep the texts of all shards in memory.
        with closing(encoder.encode_shards(self._read(rows)[1] for _, rows, _, _ in missing)) as encoded:
            for number, get in encoded:
                path, rows, index, provenance = missing[number]
                with _naming(self._describe, index + rows.start):
                    embeddings, summary = get()
                _write(path, rows, index, provenance, embeddings, summary)
                done += rows.stop - rows.start
                self._report(done)

    def _read(self, rows: slice) -> tuple[Ints, list[Conversation], dict[str, Any]]:
        """Return the indices of a shard's undeleted conversations, these conversations, and the shard's provenance.

        The provenance identifies what the embeddings are computed from: the encoder and a hash of the texts.
        """
        found = self.stored.conversations(rows)
        index = np.flatnonzero([len(conversation) > 0 for conversation in found])
        texts = hashlib.sha256("\n".join(conversation_key(conversation) for conversation in found).encode())
        provenance = {"encoder": self.encoder.identity.to_dict(), "texts": texts.hexdigest()}
        return index, [found[i] for i in index.tolist()], provenance

    def _embed(
        self, conversations: Sequence[Conversation], batches: ShardBatches, before: int
    ) -> tuple[Floats32, EncodingSummary]:
        """Embed a shard's conversations batch by batch; finished batches are read from their files."""

        def encode(number: int, batch: Batch) -> tuple[Floats32, EncodingSummary]:
            part = batches.read(number, batch)
            if part is None:
                part = encode_batch(self.encoder, batch)
                batches.write(number, batch, *part)
            return part

        def report(done: int, _: int) -> None:
            self._report(before + done)

        return encode_in_batches(self.encoder, conversations, progress=report, encode=encode)

    def _describe(self, row: int) -> str:
        return load_comparisons(self.run).describe_response(row)

    def _report(self, done: int) -> None:
        if self.progress is not None:
            self.progress(done, len(self.stored))


def _finished_summary(path: Path, provenance: dict[str, Any]) -> EncodingSummary | None:
    """Return the summary in a shard's metadata. Return None if the file is missing or has another provenance."""
    found = read_provenance(path)
    summary = found.pop("remarks", None)
    return None if summary is None or found != provenance else EncodingSummary(**summary)


def _write(
    path: Path, rows: slice, index: Ints, provenance: dict[str, Any], embeddings: Floats32, summary: EncodingSummary
) -> None:
    """Write a shard, with zeros for responses whose text was deleted, and remove its batches."""
    import torch

    matrix = np.zeros((rows.stop - rows.start, embeddings.shape[1]), dtype=np.float32)
    matrix[index] = embeddings
    write_tensor(path, RESPONSES, torch.from_numpy(matrix), {**provenance, "remarks": asdict(summary)})
    ShardBatches(path.with_suffix(""), provenance).remove()
