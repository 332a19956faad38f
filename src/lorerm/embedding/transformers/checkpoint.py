"""Where a model's files are, which version of them it is, and what to say when they cannot be loaded."""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorerm.embedding.transformers.device import is_out_of_memory
from lorerm.errors import LorermError, ModelError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator

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
"""Besides the weights, the files of a model folder that can change an embedding; chat templates are hashed apart."""

_SAMPLES_PER_FILE = 1024
_SAMPLE_BYTES = 4096


@dataclass(frozen=True)
class Checkpoint:
    """A model found: what to load, and the version that this is."""

    source: str
    """What to give to ``from_pretrained``."""
    commit: str | None
    """The commit to load from the hub; None for a folder."""
    revision: str | None
    """The version for the encoder's identity: the commit, or the folder's fingerprint."""


def find_checkpoint(model: str, revision: str | None) -> Checkpoint:
    """Find a model in a folder or on the hub, and pin its version.

    Parameters
    ----------
    model
        Path of a folder, or an id on the hub.
    revision
        Branch, tag or commit on the hub; not for folders.

    Raises
    ------
    ModelError
        If there is no such model, or its weights are only there as pickles.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise ModelError(f"{model} is a folder and has no revision {revision!r}", "leave the revision out")
        _check_folder(folder)
        return Checkpoint(str(folder), commit=None, revision=fingerprint(folder))
    if folder.exists():
        raise ModelError(f"{model} is a file, not a model folder", "name the folder that holds its config.json")
    if model.startswith((".", "~", os.sep)) or (model.count("/") > 1):
        raise ModelError(f"there is no model folder {model}", "check the path, or name a model on the hub")
    commit = _resolve_commit(model, revision)
    return Checkpoint(model, commit=commit or revision, revision=commit)


def fingerprint(folder: Path) -> str:
    """Hash what decides a local model's numbers, reading a few megabytes at most of every file of weights.

    Small files count in full. Of each file of weights count its size, its header (every tensor's name, type and shape)
    and 1024 blocks of 4 KiB spread evenly from end to end, so that another training run, or a merged adapter, shows.

    Returns
    -------
    str
        SHA-256 in hexadecimal digits. It does not depend on where the folder stands.
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


@dataclass(frozen=True)
class Network:
    """A model in memory, in evaluation mode."""

    module: Any
    """The model with its head, if it has one."""
    backbone: Any
    """The part of it that ends in the last hidden state."""
    headless: str | None
    """Why there can be no reference head; None where there is one to read."""


def load_network(model: str, checkpoint: Checkpoint, options: dict[str, Any]) -> Network:
    """Load a model's weights: as a sequence classifier if it is one, otherwise without any head.

    Parameters
    ----------
    model
        The model's name, for messages.
    checkpoint
        Where it is.
    options
        For ``from_pretrained``.

    Raises
    ------
    ModelError
        If it has an encoder and a decoder, or weights of its backbone are missing, which transformers draws at random.
    """
    from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

    config = AutoConfig.from_pretrained(checkpoint.source, **options)
    if config.is_encoder_decoder:
        raise ModelError(
            f"{model} has both an encoder and a decoder", "choose a reward model or language model that is a decoder"
        )
    architecture = (config.architectures or ["a model of no named architecture"])[0]
    classifier = architecture.endswith("ForSequenceClassification")
    module, report = (AutoModelForSequenceClassification if classifier else AutoModel).from_pretrained(
        checkpoint.source, use_safetensors=True, output_loading_info=True, **options
    )
    backbone = module.base_model if classifier else module
    owned = {name for name, _ in backbone.named_parameters()}
    prefix = f"{module.base_model_prefix}." if classifier else ""
    if missing := sorted(name for name in report["missing_keys"] if name.removeprefix(prefix) in owned):
        raise ModelError(
            f"the weights of {model} lack {missing[0]}" + (f" and {len(missing) - 1} more" if len(missing) > 1 else ""),
            "check that config.json and the weights belong together",
        )
    headless = None
    if not classifier:
        headless = f"{architecture} is not a sequence classifier with a head `score`"
    elif "score.weight" in report["missing_keys"]:
        headless = f"the weights of {model} hold no `score`"
    elif extra := sorted(name for name in report["unexpected_keys"] if name.startswith("score.")):
        headless = f"the head of {model} has a part that {architecture} does not read ({extra[0]})"
    return Network(module.eval(), backbone, headless)


@contextmanager
def loading(model: str) -> Iterator[None]:
    """Load quietly, and turn whatever goes wrong into one line that says what to do.

    transformers writes progress bars and reports on weights to standard error; a library's caller decides on those.
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
            f"{folder} is not a model folder, as it has no config.json",
            "name the folder that save_pretrained wrote, or a model on the hub",
        )
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(path.name for path in folder.glob("pytorch_model*.bin"))
        found = f"its weights only as a pickle ({pickles[0]})" if pickles else "no weights (*.safetensors)"
        raise ModelError(f"model folder {folder} has {found}", "convert or save them as safetensors first")


def _resolve_commit(model: str, revision: str | None) -> str | None:
    """Return the commit that a model on the hub (or in the hub's cache) stands at; None if that cannot be told."""
    from transformers.utils.hub import cached_file

    with loading(model):
        config = cached_file(model, "config.json", revision=revision)
    match = re.search(r"snapshots/([0-9a-f]{40})/", Path(config).as_posix())
    return match.group(1) if match else None


def _remedy(error: Exception) -> str:
    text = str(error)
    if is_out_of_memory(error):
        return "free some memory, choose bfloat16 as dtype, or take a larger device"
    if "trust_remote_code" in text:
        return "read the code that it brings, and pass trust_remote_code=True if you trust it"
    if ".safetensors" in text:
        return "choose a model whose weights are safetensors, or convert it and name the folder"
    if isinstance(error, ImportError):
        return "install what is missing, or choose another attn_implementation (--attn)"
    return "check its name, its files and the network, or name a folder that holds the model"
