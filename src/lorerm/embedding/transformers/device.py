"""Where a model runs, and how to tell that there is no room left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lorerm.errors import ConfigError

if TYPE_CHECKING:
    import torch


def choose_device(device: str | torch.device | None) -> torch.device:
    """Return the device asked for, by default the GPU where there is one.

    Raises
    ------
    ConfigError
        If it is not known, or not there.
    """
    import torch

    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"device {device!r} is not known", "give cpu, cuda, cuda:1 or the like") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {device!r} was asked for, but torch sees no GPU", "give device=cpu, or none")
    return chosen


def is_out_of_memory(error: BaseException) -> bool:
    """Tell a GPU's memory, and the computer's own, from other errors: for the latter torch has no class."""
    import torch

    # torch says "can't allocate memory", the system, where a file of weights is read, "Cannot allocate memory".
    said = ("can't allocate memory", "Cannot allocate memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(words in str(error) for words in said)
