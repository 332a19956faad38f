"""The store of a run folder: `comparisons.parquet`, and under `embeddings/` the sharded matrix of responses.

- `embeddings/embeddings-00001-of-00003.safetensors`: tensor `responses` [rows, D]; each shard appears whole or not at
  all, and names in its metadata the encoder and the texts it was made of, so that an interrupted run keeps what fits
  and no other. `embeddings/embeddings-00001-of-00003/` holds the batches of one that is not finished.
- `embeddings/reference.safetensors`: tensor `reference` [D], where the encoder has a reward head.
- `embeddings/encoder.json`: the encoder's identity; written last, so that it marks a finished store.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lorerm.atomic import atomic_path
from lorerm.embedding.embedded_preferences import EmbeddedPreferences
from lorerm.embedding.encoder import EncoderIdentity
from lorerm.embedding.matrices import LARGE, StoredMatrix, UnreadableFileError, check_finite
from lorerm.embedding.shards import RESPONSES, make_folder, read_made_of, shards, write_tensor
from lorerm.errors import DataError, RunError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa
    import torch

    from lorerm.arrays import Column

FORMAT_VERSION = 1
COMPARISONS, EMBEDDINGS = "comparisons.parquet", "embeddings"
ENCODER, REFERENCE = "encoder.json", "reference.safetensors"


class Comparisons(NamedTuple):
    """Columns of `comparisons.parquet`, of equal length."""

    user_ids: Column
    prompt_ids: Column
    chosen: np.ndarray[Any, Any]
    rejected: np.ndarray[Any, Any]
    splits: Column
    weights: np.ndarray[Any, Any]


def store_matrix(run: str | Path, responses: torch.Tensor | StoredMatrix, reference: torch.Tensor | None) -> None:
    """Write a matrix of embeddings [R, D] made elsewhere into the store of a run folder, in its own dtype."""
    folder = Path(run) / EMBEDDINGS
    check_finite(responses)
    make_folder(folder)
    for path, rows in shards(folder, len(responses)):
        write_tensor(path, RESPONSES, responses[rows])
    head = None if reference is None else reference.float().numpy()
    reason = None if reference is not None else "the embeddings were imported without a reference head"
    finish(Path(run), len(responses), None, head, reason)


def write_comparisons(run: str | Path, chunks: Iterable[Comparisons]) -> None:
    """Write `comparisons.parquet`, a group of rows for each chunk; equal chunks give equal bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with (
        atomic_path(Path(run) / COMPARISONS) as temporary,
        pq.ParquetWriter(temporary, _schema(), compression="zstd") as writer,
    ):
        for chunk in chunks:
            arrays = [pa.array(column, field.type) for column, field in zip(chunk, _schema(), strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=_schema()))


def finish(
    run: Path, n_rows: int, identity: EncoderIdentity | None, reference: np.ndarray[Any, Any] | None, reason: str | None
) -> None:
    """Write what completes the store, and remove what an interrupted attempt on other input has left in it."""
    import torch

    expected = {path for path, _ in shards(run / EMBEDDINGS, n_rows)}
    for path in (run / EMBEDDINGS).glob("embeddings-*"):
        if path.is_dir():
            shutil.rmtree(path)
        elif path not in expected:
            path.unlink()
    if reference is None:
        (run / EMBEDDINGS / REFERENCE).unlink(missing_ok=True)
    else:
        write_tensor(run / EMBEDDINGS / REFERENCE, "reference", torch.from_numpy(np.ascontiguousarray(reference)))
    content = {
        "format_version": FORMAT_VERSION,
        "n_rows": n_rows,
        "encoder": None if identity is None else identity.to_dict(),
        "reference_reason": reason,
    }
    with atomic_path(run / EMBEDDINGS / ENCODER) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def check_encoder(run: str | Path, identity: EncoderIdentity) -> None:
    """Refuse to mix: raise `RunError` if the store of `run`, or an unfinished part of it, is of another encoder."""
    folder = Path(run) / EMBEDDINGS
    if (folder / ENCODER).exists():
        made_by = _read_encoder(folder / ENCODER)[0]
        found = None if made_by is None else made_by.to_dict()
    else:
        unfinished = sorted(folder.glob("embeddings-*.safetensors")) + sorted(folder.glob("embeddings-*/*"))
        parts = [made_of for path in unfinished if (made_of := read_made_of(path))]
        if not parts:
            return
        found = parts[0]["encoder"]
    if found != identity.to_dict():
        was = "imported embeddings" if found is None else f"embeddings of {found['model']} ({found['dtype']})"
        now = f"of {identity.model} ({identity.dtype})"
        if was.endswith(now):
            now += " with other settings or another version"
        raise RunError(f"{run} holds {was}, not {now}", f"choose another run folder, or delete {folder}")


def load_embedded(run: str | Path) -> EmbeddedPreferences:
    """Read the store of a run folder; see `EmbeddedPreferences.load`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    run = Path(run)
    if not (run / EMBEDDINGS / ENCODER).exists() or not (run / COMPARISONS).exists():
        raise RunError(f"{run} holds no finished embeddings", "run `lorerm embed` or `lorerm import-embeddings` first")
    identity, n_rows, _ = _read_encoder(run / EMBEDDINGS / ENCODER)
    try:
        table = pq.read_table(run / COMPARISONS, partitioning=None)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(run / COMPARISONS) from error
    if table.schema != _schema():
        raise _damaged(run / COMPARISONS)
    head = run / EMBEDDINGS / REFERENCE
    splits = table["split"].to_pylist()
    return EmbeddedPreferences.from_arrays(
        _read_matrix(run / EMBEDDINGS, n_rows),
        table["chosen"].to_numpy(),
        table["rejected"].to_numpy(),
        np.array(table["user_id"].to_pylist(), dtype=object),
        np.array(table["prompt_id"].to_pylist(), dtype=object),
        table["weight"].to_numpy(),
        splits=None if None in splits else np.array(splits, dtype=object),
        encoder=identity,
        reference=_read_tensor(head, "reference") if head.exists() else None,
    )


def reference_reason(run: str | Path) -> str | None:
    """Return why the store has no reference head; None where it has one."""
    return _read_encoder(Path(run) / EMBEDDINGS / ENCODER)[2]


def _schema() -> pa.Schema:
    import pyarrow as pa

    text, row = pa.string(), pa.int64()
    types = {"user_id": text, "prompt_id": text, "chosen": row, "rejected": row, "split": text, "weight": pa.float64()}
    return pa.schema([pa.field(name, kind) for name, kind in types.items()])


def _read_encoder(path: Path) -> tuple[EncoderIdentity | None, int, str | None]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["format_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path) from error
    if version != FORMAT_VERSION:
        raise RunError(
            f"{path} has store format {version}, this version of lorerm reads {FORMAT_VERSION}",
            "use the version that made it, or make the run again",
        )
    try:
        identity = None if content["encoder"] is None else EncoderIdentity.from_dict(content["encoder"])
        return identity, int(content["n_rows"]), content["reference_reason"]
    except (DataError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path) from error


def _read_matrix(folder: Path, n_rows: int) -> torch.Tensor | StoredMatrix:
    """Return the matrix: in memory, or on disk where it is large."""
    paths = [path for path, _ in shards(folder, n_rows)]
    try:
        stored = StoredMatrix(paths, RESPONSES)
        matrix = stored if stored.shape[0] * stored.shape[1] >= LARGE else stored[:]
    except UnreadableFileError as error:
        raise _damaged(error.path) from error
    if len(matrix) != n_rows:
        raise _damaged(folder)
    return matrix


def _read_tensor(path: Path, name: str) -> torch.Tensor:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)[name]  # type: ignore[no-any-return]
    except (OSError, KeyError, SafetensorError) as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> RunError:
    return RunError(
        f"{path} is missing or damaged", "delete it and run the command that made it again: what is whole is kept"
    )
