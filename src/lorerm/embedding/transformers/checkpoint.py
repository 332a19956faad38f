"""Find a model in a folder or on the hub, determine its version, and convert loading errors to `ModelError`."""

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
"""Files of a model folder, other than the weights and the chat template, that can change an embedding."""

_SAMPLES_PER_FILE = 1024
_SAMPLE_BYTES = 4096


@dataclass(frozen=True)
class Checkpoint:
    """Location and version of a model that was found."""

    source: str
    """The argument for ``from_pretrained``: the path of the folder, or the id on the hub."""
    commit: str | None
    """The commit to load from the hub. If it is unknown: the requested revision. None for a folder."""
    revision: str | None
    """The version in the encoder's identity: the commit, or the folder's fingerprint. None if it is unknown."""


def find_checkpoint(model: str, revision: str | None) -> Checkpoint:
    """Find a model in a folder or on the hub, and determine its version.

    `model` is the path of a folder or an id on the hub; `revision` is a branch, tag or commit on the hub. Raises
    `ModelError` if there is no such model, or if a folder contains no safetensors weights.
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
            f"{model} is a file, not a model folder", "give the folder that contains config.json", argument="model"
        )
    if model.startswith((".", "~", os.sep)) or (model.count("/") > 1):
        raise ModelError(
            f"there is no model folder {model}",
            "check the path, or give the id of a model on the hub",
            argument="model",
        )
    commit = _resolve_commit(model, revision)
    return Checkpoint(model, commit=commit or revision, revision=commit)


def fingerprint(folder: Path) -> str:
    """Return a SHA-256 of the files that determine a local model's embeddings, with samples of the weights.

    The files in `_WHOLE_FILES` are hashed completely. Of each file of weights, the hash covers the size, the header
    (name, dtype and shape of every tensor), and 1024 blocks of 4 KiB, evenly spaced over the file. So the hash changes
    with another training run or a merged adapter. It does not change with the folder's path.
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
    """Return whether an error means that the GPU or the computer is out of memory."""
    import torch

    # torch has no exception class for the computer's memory, only the message "can't allocate memory". If a file of
    # weights is being read, the operating system's message is "Cannot allocate memory".
    messages = ("can't allocate memory", "Cannot allocate memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(text in str(error) for text in messages)


@contextmanager
def loading(model: str) -> Iterator[None]:
    """Context in which transformers loads a model: silences its output, and converts any error to a `ModelError`.

    By default transformers writes progress bars and reports about the weights to standard error.
    """
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except LorermError:
        raise
    except Exception as error:  # transformers and the hub client raise exceptions of many classes
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
            "give the folder that save_pretrained wrote, or the id of a model on the hub",
            argument="model",
        )
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(path.name for path in folder.glob("pytorch_model*.bin"))
        found = f"its weights only as a pickle ({pickles[0]})" if pickles else "no weights (*.safetensors)"
        raise ModelError(f"model folder {folder} has {found}", "save the weights as safetensors", argument="model")


def _resolve_commit(model: str, revision: str | None) -> str | None:
    """Return the commit of a model on the hub, or in the local cache of the hub. Return None if it is unknown."""
    from transformers.utils.hub import cached_file

    with loading(model):
        config = cached_file(model, "config.json", revision=revision)
    match = re.search(r"snapshots/([0-9a-f]{40})/", Path(config).as_posix())
    return match.group(1) if match else None


def _remedy(error: Exception) -> str:
    text = str(error)
    if is_out_of_memory(error):
        return "free some memory, set dtype to bfloat16, or use a device with more memory"
    if "trust_remote_code" in text:
        return "read the Python code of the model; if you trust it, set trust_remote_code=True (--trust-remote-code)"
    if ".safetensors" in text:
        return "choose a model with safetensors weights, or convert the weights and give the folder"
    if isinstance(error, ImportError):
        return "install the missing package, or choose another attn_implementation (--attn)"
    return "check the model's name, its files and the network connection, or give a folder that contains the model"
