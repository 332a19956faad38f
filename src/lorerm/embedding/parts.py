"""What is finished of a shard: one file per batch, so that an interruption costs a single batch."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lorerm.embedding.batch_encoder import EncodingSummary
from lorerm.embedding.shards import RESPONSES, make_folder, read_made_of, write_tensor

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from lorerm.embedding.batch_encoder import Batch


@dataclass(frozen=True)
class Parts:
    """The folder of a shard's batches.

    Parameters
    ----------
    folder
        Where they are; nobody else's files are there.
    made_of
        What decides the shard's rows, as JSON-able values. A part of anything else is not read.
    """

    folder: Path
    made_of: Mapping[str, Any]

    def write(self, number: int, batch: Batch, embeddings: npt.NDArray[np.float32], remarks: EncodingSummary) -> None:
        """Keep the embeddings of the plan's batch of that number, float32 [m, D]: whole and on the disk, or not at all.

        Raises
        ------
        RunError
            They cannot be written.
        """
        import torch

        made_of = {**self._of(batch), "remarks": asdict(remarks)}
        made_of["sha256"] = _checksum(embeddings, made_of)
        make_folder(self.folder)
        write_tensor(self._path(number), RESPONSES, torch.from_numpy(embeddings), made_of)

    def read(self, number: int, batch: Batch) -> tuple[npt.NDArray[np.float32], EncodingSummary] | None:
        """Return what `write` kept, or None if that is not there, is damaged, or was another batch."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        path = self._path(number)
        found = read_made_of(path)
        checksum = found.pop("sha256", None)
        try:
            embeddings: npt.NDArray[np.float32] = load_file(path)[RESPONSES]
        except (OSError, SafetensorError, KeyError):
            return None
        if _checksum(embeddings, found) != checksum:
            return None
        remarks = EncodingSummary(**found.pop("remarks"))
        return (embeddings, remarks) if found == self._of(batch) else None

    def remove(self) -> None:
        """Remove them all, once the shard is there."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self.folder / f"batch-{number:05d}.safetensors"

    def _of(self, batch: Batch) -> dict[str, Any]:
        return {**self.made_of, "places": batch.indices}


def _checksum(embeddings: npt.NDArray[np.float32], made_of: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode() + embeddings.tobytes()).hexdigest()
