"""The embeddings in a run folder: a matrix with one row per response, in files under `embeddings/`.

- `embeddings-00001-of-00003.safetensors`: a shard with the tensor `responses` [rows, D], written atomically. Its
  metadata contain the encoder's identity and a hash of the texts. If the command is repeated, a shard is kept if both
  match the current ones.
- `embeddings-00001-of-00003/`: the finished batches of an unfinished shard.
- `reference.safetensors`: the tensor `reference` [D], the encoder's own reward head (reference head), if it has one.
- `encoder.json`: the encoder's identity. It is written last: if it exists, the matrix is complete.

The comparisons between the rows are in `comparisons.parquet` (`lorerm.data.stored`).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lorerm.atomic import atomic_path
from lorerm.data.stored import COMPARISONS, damaged, load_comparisons
from lorerm.embedding.batch_encoder import EncodingSummary
from lorerm.embedding.checks import check_finite
from lorerm.embedding.encoder import EncoderIdentity
from lorerm.embedding.matrices import LARGE, StoredMatrix, UnreadableFileError, as_tensor
from lorerm.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from lorerm.arrays import Floats32
    from lorerm.data.comparisons import Comparisons
    from lorerm.embedding.batch_encoder import Batch
    from lorerm.embedding.matrices import Matrix

FORMAT_VERSION = 1
EMBEDDINGS = "embeddings"
ENCODER, REFERENCE = "encoder.json", "reference.safetensors"
RESPONSES = "responses"
# Small enough that a shard of embeddings fits in memory even for the largest D; large enough that few prompts have
# their responses in two shards.
SHARD_ROWS = 1024
# The only key in a file's metadata. With several keys, safetensors writes them in an order that differs between runs.
_PROVENANCE = "made_of"


def spans(n_rows: int) -> list[slice]:
    """Return the row range of each shard of a matrix with `n_rows` rows."""
    return [slice(start, min(start + SHARD_ROWS, n_rows)) for start in range(0, n_rows, SHARD_ROWS)]


def shards(folder: Path, n_rows: int) -> list[tuple[Path, slice]]:
    """Return the path and the row range of each shard of a matrix with `n_rows` rows; there is at least one shard."""
    parts = spans(n_rows) or [slice(0, 0)]
    return [
        (folder / f"embeddings-{number:05d}-of-{len(parts):05d}.safetensors", rows)
        for number, rows in enumerate(parts, 1)
    ]


def make_folder(folder: Path) -> None:
    """Make a folder, and its parents, if it does not exist."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"the folder cannot be made ({error.strerror})",
            "if a file has this name, rename it; otherwise check permissions and disk space",
            file=folder,
        ) from error


def write_tensor(path: Path, name: str, tensor: torch.Tensor, provenance: Mapping[str, Any] | None = None) -> None:
    """Write one tensor to a safetensors file, atomically; equal input gives identical bytes.

    `provenance` (JSON-serialisable) describes what the tensor was computed from, and is stored as metadata.
    """
    from safetensors.torch import save

    metadata = None if provenance is None else {_PROVENANCE: json.dumps(provenance, sort_keys=True)}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save({name: tensor.contiguous()}, metadata))


def read_provenance(path: Path) -> dict[str, Any]:
    """Return the provenance in a file's metadata. Return {} if it has none, or the file is missing or truncated."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            provenance = json.loads((file.metadata() or {}).get(_PROVENANCE, "{}"))
    except (OSError, SafetensorError, ValueError):
        return {}
    return provenance if isinstance(provenance, dict) else {}


@dataclass(frozen=True)
class ShardBatches:
    """The finished batches of an unfinished shard, one file each: an interruption loses at most one batch."""

    folder: Path
    """the folder of the batches, which contains no other files"""
    provenance: Mapping[str, Any]
    """JSON-serialisable values that determine the shard's rows; a batch with other values is not read"""

    def write(self, number: int, batch: Batch, embeddings: Floats32, summary: EncodingSummary) -> None:
        """Write the embeddings [m, D] of the shard's batch with index `number`, and their summary, atomically."""
        import torch

        provenance = {**self._of(batch), "remarks": asdict(summary)}
        provenance["sha256"] = _checksum(embeddings, provenance)
        make_folder(self.folder)
        write_tensor(self._path(number), RESPONSES, torch.from_numpy(embeddings), provenance)

    def read(self, number: int, batch: Batch) -> tuple[Floats32, EncodingSummary] | None:
        """Return the embeddings and summary from `write`. Return None if missing, damaged, or from another batch."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        path = self._path(number)
        found = read_provenance(path)
        checksum = found.pop("sha256", None)
        try:
            embeddings: Floats32 = load_file(path)[RESPONSES]
        except (OSError, SafetensorError, KeyError):
            return None
        if _checksum(embeddings, found) != checksum:
            return None
        summary = EncodingSummary(**found.pop("remarks"))
        return (embeddings, summary) if found == self._of(batch) else None

    def remove(self) -> None:
        """Remove all batches. To be called when the shard is complete."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self.folder / f"batch-{number:05d}.safetensors"

    def _of(self, batch: Batch) -> dict[str, Any]:
        return {**self.provenance, "places": batch.indices}


def _checksum(embeddings: Floats32, provenance: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(provenance, sort_keys=True).encode() + embeddings.tobytes()).hexdigest()


def store_matrix(run: str | Path, responses: Matrix, reference: Floats32 | None) -> None:
    """Write embeddings [R, D] that another program computed into a run folder, in their own dtype."""
    folder = Path(run) / EMBEDDINGS
    check_finite(responses)
    make_folder(folder)
    for path, rows in shards(folder, len(responses)):
        write_tensor(path, RESPONSES, as_tensor(responses[rows]))
    reason = None if reference is not None else "the embeddings were imported without a reference head"
    finish(Path(run), len(responses), None, reference, reason)


def finish(
    run: Path, n_rows: int, identity: EncoderIdentity | None, reference: Floats32 | None, reason: str | None
) -> None:
    """Write the reference head and `encoder.json`, and remove files left by an attempt with other input.

    `identity` is None for imported embeddings. `reason` says why there is no reference head.
    """
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
    """Raise `RunError` if the run folder contains embeddings from another encoder, finished or unfinished."""
    folder = Path(run) / EMBEDDINGS
    if (folder / ENCODER).exists():
        made_by = _read_encoder(folder / ENCODER)[0]
        found = None if made_by is None else made_by.to_dict()
    else:
        unfinished = sorted(folder.glob("embeddings-*.safetensors")) + sorted(folder.glob("embeddings-*/*"))
        known = [provenance for path in unfinished if (provenance := read_provenance(path))]
        if not known:
            return
        found = known[0]["encoder"]
    if found != identity.to_dict():
        was = "imported embeddings" if found is None else f"embeddings of {found['model']} ({found['dtype']})"
        now = f"of {identity.model} ({identity.dtype})"
        if was.endswith(now):
            now += " with other settings or another version"
        raise RunError(
            f"the run contains {was}, but the encoder computes embeddings {now}",
            f"choose another run folder, or delete {folder}",
            file=Path(run),
        )


def read_store(
    run: str | Path,
) -> tuple[Comparisons, torch.Tensor | StoredMatrix, EncoderIdentity | None, Floats32 | None]:
    """Return a run folder's comparisons, embeddings, encoder identity and reference head; a large matrix stays on disk.

    Raises `RunError` if the embeddings are missing, unfinished, damaged, or in the format of another lorerm version.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    run = Path(run)
    if not (run / EMBEDDINGS / ENCODER).exists() or not (run / COMPARISONS).exists():
        raise RunError(
            "the run has no finished embeddings", "run `lorerm embed` or `lorerm import-embeddings` first", file=run
        )
    identity, n_rows, _ = _read_encoder(run / EMBEDDINGS / ENCODER)
    comparisons, responses = load_comparisons(run), _read_matrix(run / EMBEDDINGS, n_rows)
    head = run / EMBEDDINGS / REFERENCE
    try:
        return comparisons, responses, identity, load_file(head)["reference"] if head.exists() else None
    except (OSError, KeyError, SafetensorError) as error:
        raise damaged(head) from error


def reference_reason(run: str | Path) -> str | None:
    """Return the reason why the run's encoder has no reference head. Return None if it has one."""
    return _read_encoder(Path(run) / EMBEDDINGS / ENCODER)[2]


def zero_unused_rows(run: str | Path, comparisons: Comparisons) -> int:
    """Set the embeddings of responses that no comparison uses to 0; return how many were not 0 before.

    No row is removed, so row indices stay valid. Each shard is replaced atomically.
    """
    import torch
    from safetensors import safe_open
    from safetensors.torch import save

    used = np.concatenate(comparisons.rows())
    start = zeroed = 0
    for path in sorted((Path(run) / EMBEDDINGS).glob("embeddings-*.safetensors")):
        with safe_open(path, framework="pt") as shard:
            responses, metadata = shard.get_tensor(RESPONSES), shard.metadata()
        # `used - start` are row numbers within this shard; numbers from other shards are outside its range.
        unused = np.setdiff1d(np.arange(len(responses)), used - start)
        unused = unused[responses[torch.from_numpy(unused)].any(dim=1).numpy()]
        start += len(responses)
        if not unused.size:
            continue
        zeroed += len(unused)
        responses[torch.from_numpy(unused)] = 0
        with atomic_path(path) as temporary:
            temporary.write_bytes(save({RESPONSES: responses}, metadata))
    return zeroed


def _read_encoder(path: Path) -> tuple[EncoderIdentity | None, int, str | None]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if (version := content["format_version"]) != FORMAT_VERSION:
            raise RunError(
                f"the embeddings have format version {version}, this version of lorerm reads {FORMAT_VERSION}",
                "use the version of lorerm that wrote the embeddings, or create the run again",
                file=path,
            )
        identity = None if content["encoder"] is None else EncoderIdentity.from_dict(content["encoder"])
        return identity, int(content["n_rows"]), content["reference_reason"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(path) from error


def _read_matrix(folder: Path, n_rows: int) -> torch.Tensor | StoredMatrix:
    paths = [path for path, _ in shards(folder, n_rows)]
    try:
        stored = StoredMatrix(paths, RESPONSES)
        matrix = stored if stored.shape[0] * stored.shape[1] >= LARGE else stored[:]
    except UnreadableFileError as error:
        raise damaged(error.path) from error
    if len(matrix) != n_rows:
        raise damaged(folder)
    return matrix
