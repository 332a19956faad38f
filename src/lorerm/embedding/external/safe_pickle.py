"""Read pickles that hold only containers and tensors, and refuse all others.

Reading a pickle can run any code that the file names. Here it can only build lists, dictionaries, strings, numbers and
tensors: any other name is refused before it is looked up, so that no code of the file runs.
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
# In errors of torch.load on a file that torch.save wrote: the name that the file asks for.
_ASKED_OF_TORCH = re.compile(r"\bGLOBAL ([\w.]+)")


class _ForeignError(pickle.UnpicklingError):
    """A name in a pickle that is neither a container nor a tensor."""


class _ContainersAndTensors(pickle.Unpickler):
    """Unpickler that looks up containers and the parts of tensors, and no other name."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - as in the class above
        """Return a container, or a function that builds a tensor."""
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
    """Read the numbers of a tensor, which are a pickle within the pickle."""
    import torch

    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def load_pickle(path: str | Path) -> Any:  # noqa: ANN401 - the content of the file
    """Read a pickle of containers and tensors, written by `pickle.dump` or `torch.save`; tensors are put on the CPU.

    A file that is missing or damaged, or holds anything else, is a `DataError`.
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
            problem = f"the file asks for {name}, which is neither a container nor a tensor"
            raise DataError(problem, "do not trust this file", file=path) from None
        raise DataError(
            f"the file is damaged, or holds more than containers and tensors ({first_line(error):.120})",
            "do not trust this file, or make it again",
            file=path,
        ) from error
