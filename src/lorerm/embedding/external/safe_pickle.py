"""Pickles of containers and tensors, and of nothing else.

A pickle is a program: reading it can run anything. Here it may build lists, dictionaries, strings, numbers and tensors;
whatever else it asks for is refused before it is looked up, and none of its code runs.
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
# How torch says what a file of its own asks for.
_BY_TORCH = re.compile(r"\bGLOBAL ([\w.]+)")


class _ForeignError(pickle.UnpicklingError):
    """Something that is neither a container nor a tensor."""


class _ContainersAndTensors(pickle.Unpickler):
    """Looks up nothing by name but what is on the list."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - as in the class above
        """Return a container, or what builds a tensor."""
        found = _CONTAINERS.get((module, name))
        if found is not None:
            return found
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            from torch._utils import _rebuild_tensor_v2

            return _rebuild_tensor_v2
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return _load_storage
        raise _ForeignError(f"{module}.{name}")


def load_pickle(path: str | Path) -> Any:  # noqa: ANN401 - what the file holds
    """Read a pickle of containers and tensors, written by `pickle.dump` or `torch.save`; tensors come on the CPU.

    Raises
    ------
    DataError
        If the file is missing or damaged, or asks for anything else than containers and tensors.
    """
    import torch

    path = Path(path)
    try:
        if zipfile.is_zipfile(path):
            return torch.load(path, map_location="cpu", weights_only=True)
        with path.open("rb") as file:
            return _load_only(file)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})", "check the path") from error
    except _ForeignError as error:
        raise _foreign(path, str(error)) from None
    except Exception as error:  # a damaged pickle can raise anything
        if asked := _BY_TORCH.search(str(error)):
            raise _foreign(path, asked[1]) from None
        raise DataError(
            f"{path} is damaged, or holds something else than containers and tensors ({first_line(error):.120})",
            "do not trust this file, or make it again",
        ) from error


def _foreign(path: Path, asked: str) -> DataError:
    return DataError(f"{path} asks for {asked}, which is neither a container nor a tensor", "do not trust this file")


def _load_only(file: BinaryIO) -> Any:  # noqa: ANN401 - what the file holds
    content = _ContainersAndTensors(file).load()
    if file.read(1):
        raise pickle.UnpicklingError("there is more behind the first object")
    return content


def _load_storage(data: bytes) -> Any:  # noqa: ANN401 - a storage of torch
    """Read a tensor's numbers, which are a pickle in the pickle."""
    import torch

    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
