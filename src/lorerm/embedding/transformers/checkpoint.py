"""Find a model in a folder or on the hub, determine its version, and explain why a model cannot be loaded."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lorerm.errors import LorermError, ModelError, first_line

_WHOLE_FILES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "*.py",
)
"""Files of a model folder, besides the weights, that can change an embedding; the chat template has its own hash."""

_SAMPLES_PER_FILE = 1024
_SAMPLE_BYTES = 4096


@dataclass(frozen=True)
class Checkpoint:
    """A model that was found, and its version."""

    source: str
    """The argument of ``from_pretrained``: the folder, or the id on the hub."""
    commit: str | None
    """The commit to load from the hub; None for a folder."""
    revision: str | None
    """The version, as part of the encoder's identity: the commit, or the folder's fingerprint."""


def find_checkpoint(model: str, revision: str | None) -> Checkpoint:
    """Find a model in a folder or on the hub, and determine its version.

    `model` is the path of a folder, or an id on the hub with a branch, tag or commit as `revision`. If there is no such
    model, or its weights are stored as pickles only, that is a `ModelError`.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise ModelError(
                f"{model} is a folder, and folders have no revision {revision!r}",
                "leave the revision out",
                argument="revision",
            )
        _check_folder(folder)
        return Checkpoint(str(folder), commit=None, revision=fingerprint(folder))
    if folder.exists():
        raise ModelError(
            f"{model} is a file, not a model folder", "name the folder that contains its config.json", argument="model"
        )
    if model.startswith((".", "~", os.sep)) or (model.count("/") > 1):
        raise ModelError(
            f"there is no model folder {model}", "check the path, or name a model on the hub", argument="model"
        )
    commit = _resolve_commit(model, revision)
    return Checkpoint(model, commit=commit or revision, revision=commit)


def fingerprint(folder: Path) -> str:
    """Return the SHA-256 of what decides a local model's embeddings, reading a few megabytes of each file of weights.

    Small files are hashed in full. Of each file of weights, the hash covers the size, the header (name, type and shape
    of every tensor) and 1024 blocks of 4 KiB spread evenly from end to end, so that another training run or a merged
    adapter changes it. The folder's path does not change it.
    """
    digest = hashlib.sha256()
    for path in sorted({path for pattern in _WHOLE_FILES for path in folder.glob(pattern)}):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            header = int.from_bytes(file.read(8), "little")
            digest.update(file.read(min(header, size)))
            start = file.tell()
            step = max((size - start) // _SAMPLES_PER_FILE, _SAMPLE_BYTES)
            for offset in [*range(start, size, step), max(start, size - _SAMPLE_BYTES)]:
                file.seek(offset)
                digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that the memory of the GPU or of the computer is exhausted."""
    import torch

    # torch has no class for the computer's own memory. It says "can't allocate memory"; the system, where a file of
    # weights is read, says "Cannot allocate memory".
    messages = ("can't allocate memory", "Cannot allocate memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(text in str(error) for text in messages)


@contextmanager
def loading(model: str) -> Iterator[None]:
    """Context in which transformers loads a model: without output, and any error becomes a `ModelError` with a remedy.

    transformers writes progress bars and reports on weights to standard error; a library leaves that to its caller.
    """
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except LorermError:
        raise
    except Exception as error:  # transformers and the hub client raise nearly every class there is
        reason = first_line(error).rstrip(".: ")
        raise ModelError(f"model {model} could not be loaded ({reason:.200})", _remedy(error)) from error
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _check_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"{folder} is not a model folder, because it has no config.json",
            "name the folder that save_pretrained wrote, or a model on the hub",
            argument="model",
        )
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(path.name for path in folder.glob("pytorch_model*.bin"))
        found = f"its weights only as a pickle ({pickles[0]})" if pickles else "no weights (*.safetensors)"
        raise ModelError(f"model folder {folder} has {found}", "save them as safetensors", argument="model")


def _resolve_commit(model: str, revision: str | None) -> str | None:
    """Return the commit of a model on the hub, or in the hub's cache; None if it is unknown."""
    from transformers.utils.hub import cached_file

    with loading(model):
        config = cached_file(model, "config.json", revision=revision)
    match = re.search(r"snapshots/([0-9a-f]{40})/", Path(config).as_posix())
    return match.group(1) if match else None


def _remedy(error: Exception) -> str:
    text = str(error)
    if is_out_of_memory(error):
        return "free some memory, choose bfloat16 as dtype, or use a larger device"
    if "trust_remote_code" in text:
        return "read the code that comes with it, and pass trust_remote_code=True if you trust it"
    if ".safetensors" in text:
        return "choose a model whose weights are safetensors, or convert it and name the folder"
    if isinstance(error, ImportError):
        return "install what is missing, or choose another attn_implementation (--attn)"
    return "check its name, its files and the network, or name a folder that contains the model"
