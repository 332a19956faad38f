"""Embeddings and reward heads made elsewhere, from safetensors files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lorerm.embedding.matrices import DTYPES, LARGE, StoredMatrix
from lorerm.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch


def read_matrix_file(path: str | Path) -> tuple[torch.Tensor | StoredMatrix, torch.Tensor | None]:
    """Read a safetensors file made elsewhere: its matrix `responses` [R, D] (or only one), and `reference` [D] or None.

    A large matrix stays in the file.

    Raises
    ------
    DataError
        If the file is not safetensors, or it is not clear which tensor is the matrix.
    """
    tensors = _read_foreign(path)
    reference = tensors.pop("reference", None)
    matrices = {name: tensor for name, tensor in tensors.items() if tensor.ndim == 2}
    matrix = matrices.get("responses", next(iter(matrices.values())) if len(matrices) == 1 else None)
    if matrix is None or 0 in matrix.shape or isinstance(reference, StoredMatrix):
        raise DataError(
            f"{path} holds {_contents(tensors)}",
            'save one matrix [responses, dimension] of float32, float16 or bfloat16 in it, named "responses"',
        )
    return matrix, reference


def matrix_name(path: str | Path) -> str:
    """Return the name of the matrix in a safetensors file: `responses`, or of the only one there is.

    Raises
    ------
    DataError
        If the file is not safetensors, or it is not clear which tensor is the matrix.
    """
    tensors = _read_foreign(path)
    matrices = [name for name, tensor in tensors.items() if tensor.ndim == 2]
    if "responses" in matrices:
        return "responses"
    if len(matrices) != 1:
        raise DataError(f"{path} holds {_contents(tensors)}", 'save one matrix in it, named "responses"')
    return matrices[0]


def read_reference_file(path: str | Path) -> torch.Tensor:
    """Read a safetensors file with a reward head [D] or [1, D]: the tensor `reference`, `score.weight`, or only one.

    Raises
    ------
    DataError
        If the file is not safetensors, or it is not clear which tensor is the head.
    """
    tensors = _read_foreign(path)
    only = next(iter(tensors.values())) if len(tensors) == 1 else None
    head = tensors.get("reference", tensors.get("score.weight", only))
    if head is None or isinstance(head, StoredMatrix) or head.numel() != max(head.shape, default=0):
        raise DataError(f"{path} holds {_contents(tensors)}", 'save one float vector [D] in it, named "reference"')
    return head.reshape(-1)


def _read_foreign(path: str | Path) -> dict[str, torch.Tensor | StoredMatrix]:
    """Read the float tensors of a safetensors file made elsewhere, all but its large matrices."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).exists():
        raise DataError(f"{path} does not exist", "check the path")
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
            f"{path} is not a readable safetensors file ({error})", "save the embeddings as safetensors"
        ) from error
    return tensors


def _contents(tensors: Mapping[str, torch.Tensor | StoredMatrix]) -> str:
    shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in tensors.items())
    return f"the float tensors {shapes}" if shapes else "no float tensor"
