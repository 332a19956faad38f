"""Read pickle files that contain only containers and tensors, and reject all others.

A pickle refers to classes and functions by name, and reading it can call any of them. This reader allows only the names
that lists, dictionaries, sets, strings, numbers and tensors need. It rejects every other name without importing it, so
that no code chosen by the file runs.
"""

from __future__ import annotations

import io
import pickle  # restricted below
import re
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any, BinaryIO

from lorerm.errors import DataError, first_line

_CONTAINERS = {
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): defaultdict,
    ("builtins", "list"): list,
    ("builtins", "dict"): dict,
    ("builtins", "set"): set,
}
# Extracts, from an error message of torch.load, the name of the class or function that was not allowed.
_ASKED_OF_TORCH = re.compile(r"\bGLOBAL ([\w.]+)")


class _ForeignError(pickle.UnpicklingError):
    """A pickle refers to a class or function that containers and tensors do not need."""


class _ContainersAndTensors(pickle.Unpickler):
    """Unpickler that looks up the names of containers and of the parts of tensors only."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - as in the base class
        """Return a container class or a function that builds a tensor. Raises `_ForeignError` for any other name."""
        if (module, name) in _CONTAINERS:
            return _CONTAINERS[module, name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            from torch._utils import _rebuild_tensor_v2

            return _rebuild_tensor_v2
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return _load_storage
        raise _ForeignError(f"{module}.{name}")


def _load_only(file: BinaryIO) -> Any:  # noqa: ANN401 - the content of the file
    content = _ContainersAndTensors(file).load()
    if file.read(1):
        raise pickle.UnpicklingError("there are more bytes after the first object")
    return content


def _load_storage(data: bytes) -> Any:  # noqa: ANN401 - a storage of torch
    """Read the numbers of a tensor, which are stored as a pickle within the pickle."""
    import torch

    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def load_pickle(path: str | Path) -> Any:  # noqa: ANN401 - the content of the file
    """Read a pickle of containers and tensors that `pickle.dump` or `torch.save` wrote; tensors are put on the CPU.

    Raises `DataError` if the file is missing or damaged, or contains anything else.
    """
    import torch

    path = Path(path)
    try:
        if zipfile.is_zipfile(path):
            return torch.load(path, map_location="cpu", weights_only=True)
        with path.open("rb") as file:
            return _load_only(file)
    except OSError as error:
        raise DataError(f"the file cannot be read ({error.strerror or error})", "check the path", file=path) from error
    except Exception as error:  # a damaged pickle can raise anything
        asked = _ASKED_OF_TORCH.search(str(error))
        if isinstance(error, _ForeignError) or asked:
            name = asked[1] if asked else str(error)
            problem = f"the file refers to {name}, but only containers and tensors are allowed"
            raise DataError(problem, "do not use this file", file=path) from None
        raise DataError(
            f"the file is damaged, or contains more than containers and tensors ({first_line(error):.120})",
            "do not use this file; if it is your own, write it again",
            file=path,
        ) from error
