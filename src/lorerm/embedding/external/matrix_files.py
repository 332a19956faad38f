"""Read embedding matrices and reward heads that other programs stored in safetensors files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lorerm.embedding.matrices import DTYPES, LARGE, StoredMatrix
from lorerm.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

_MATRIX_REMEDY = 'save one matrix [responses, dimension] of float32, float16 or bfloat16 in the file, named "responses"'


def read_matrix_file(path: str | Path) -> tuple[torch.Tensor | StoredMatrix, torch.Tensor | None]:
    """Return the matrix [R, D] of a file, and its reward head: the tensor `reference` [D], or None.

    The matrix is named `responses`, or is the only one. A large matrix is not loaded.

    Raises
    ------
    DataError
        The file is not safetensors, or it is not clear which tensor is the matrix.
    """
    tensors = _read_tensors(path)
    reference = tensors.pop("reference", None)
    matrix = tensors[_matrix_name(tensors, path)]
    if 0 in matrix.shape or isinstance(reference, StoredMatrix):
        raise DataError(f"the file holds {_contents(tensors)}", _MATRIX_REMEDY, file=path)
    return matrix, reference


def matrix_name(path: str | Path) -> str:
    """Return the name of the matrix that `read_matrix_file` reads.

    Raises
    ------
    DataError
        The file is not safetensors, or it is not clear which tensor is the matrix.
    """
    return _matrix_name(_read_tensors(path), path)


def read_reference_file(path: str | Path) -> torch.Tensor:
    """Return the reward head [D] of a file: the tensor `reference`, `score.weight`, or the only one; [1, D] is allowed.

    Raises
    ------
    DataError
        The file is not safetensors, or it is not clear which tensor is the head.
    """
    tensors = _read_tensors(path)
    only = next(iter(tensors.values())) if len(tensors) == 1 else None
    head = tensors.get("reference", tensors.get("score.weight", only))
    if head is None or isinstance(head, StoredMatrix) or head.numel() != max(head.shape, default=0):
        raise DataError(
            f"the file holds {_contents(tensors)}",
            'save one float vector [D] in the file, named "reference"',
            file=path,
        )
    return head.reshape(-1)


def _matrix_name(tensors: Mapping[str, torch.Tensor | StoredMatrix], path: str | Path) -> str:
    matrices = [name for name, tensor in tensors.items() if tensor.ndim == 2]
    if "responses" in matrices:
        return "responses"
    if len(matrices) != 1:
        raise DataError(f"the file holds {_contents(tensors)}", _MATRIX_REMEDY, file=path)
    return matrices[0]


def _read_tensors(path: str | Path) -> dict[str, torch.Tensor | StoredMatrix]:
    """Return the float tensors of a safetensors file; large matrices stay in the file."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).exists():
        raise DataError("the file does not exist", "check the path", file=path)
    tensors: dict[str, torch.Tensor | StoredMatrix] = {}
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - the file is no dict
                part = file.get_slice(name)
                shape = part.get_shape()
                if part.get_dtype() not in DTYPES:
                    continue
                large = len(shape) == 2 and shape[0] * shape[1] >= LARGE
                tensors[name] = StoredMatrix([path], name) if large else file.get_tensor(name)
    except (SafetensorError, OSError) as error:
        raise DataError(
            f"the file is not a readable safetensors file ({error})", "save the embeddings as safetensors", file=path
        ) from error
    return tensors


def _contents(tensors: Mapping[str, torch.Tensor | StoredMatrix]) -> str:
    shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in tensors.items())
    return f"the float tensors {shapes}" if shapes else "no float tensor"
