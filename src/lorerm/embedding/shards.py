"""The files of a matrix of embeddings: shards of so many rows, each whole or not there, and saying what it is of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorerm.atomic import atomic_path
from lorerm.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

# Small enough that a shard of the largest models stays in memory, large enough that few prompts stand in two shards.
SHARD_ROWS = 1024
RESPONSES = "responses"
_ENTRY = "made_of"


def spans(n_rows: int) -> list[slice]:
    """Divide the rows of a matrix into those of a shard each."""
    return [slice(start, min(start + SHARD_ROWS, n_rows)) for start in range(0, n_rows, SHARD_ROWS)]


def shards(folder: Path, n_rows: int) -> list[tuple[Path, slice]]:
    """Return the files of a matrix of `n_rows`, at least one, each with its rows."""
    parts = spans(n_rows) or [slice(0, 0)]
    return [
        (folder / f"embeddings-{number:05d}-of-{len(parts):05d}.safetensors", rows)
        for number, rows in enumerate(parts, 1)
    ]


def make_folder(folder: Path) -> None:
    """Make a folder, if it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"the folder {folder} cannot be made ({error.strerror})", "move away what stands there"
        ) from error


def write_tensor(path: Path, name: str, tensor: torch.Tensor, made_of: Mapping[str, Any] | None = None) -> None:
    """Write one tensor, and what it was made of as JSON-able values; equal ones give equal bytes."""
    from safetensors.torch import save

    # One entry: with several, safetensors writes them in an order that differs from run to run.
    metadata = None if made_of is None else {_ENTRY: json.dumps(made_of, sort_keys=True)}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save({name: tensor.contiguous()}, metadata))


def read_made_of(path: Path) -> dict[str, Any]:
    """Return what a file says that it was made of; empty without it, and where the file is missing or cut off."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            made_of = json.loads((file.metadata() or {}).get(_ENTRY, "{}"))
    except (OSError, SafetensorError, ValueError):
        return {}
    return made_of if isinstance(made_of, dict) else {}
