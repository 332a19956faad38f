"""Read embedding matrices, and the linear heads of reward models, that other programs stored in safetensors files."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from lorerm.embedding.matrices import DTYPES, LARGE, StoredMatrix
from lorerm.errors import DataError

if TYPE_CHECKING:
    import torch


def read_matrix_file(path: str | Path) -> tuple[torch.Tensor | StoredMatrix, torch.Tensor | None]:
    """Return a file's matrix [R, D] and its tensor `reference` (the reward head); None if it has no such tensor."""
    matrix = load_unless_large(StoredMatrix([path], matrix_name(path)))
    return matrix, _read_tensor(path, "reference") if "reference" in _float_shapes(path) else None


def load_unless_large(matrix: StoredMatrix) -> torch.Tensor | StoredMatrix:
    """Read a matrix into memory. If it would take 1 GiB or more as float32, leave it on disk: return it unchanged."""
    return matrix if prod(matrix.shape) >= LARGE else matrix[:]


def matrix_name(path: str | Path) -> str:
    """Return the name of the matrix in a file: `responses`, otherwise the name of the only matrix."""
    shapes = _float_shapes(path)
    matrices = [name for name, shape in shapes.items() if len(shape) == 2 and name != "reference"]
    found = ["responses"] if "responses" in matrices else matrices
    if len(found) != 1 or 0 in shapes[found[0]]:
        remedy = 'save one matrix [responses, dimension] of float32, float16 or bfloat16 in it, named "responses"'
        raise DataError(f"the file holds {_describe(shapes)}", remedy, file=path)
    return found[0]


def read_reference_file(path: str | Path) -> torch.Tensor:
    """Return the reward head [D] in a file: the tensor `reference`, `score.weight`, or the only float tensor."""
    shapes = _float_shapes(path)
    only = shapes if len(shapes) == 1 else ()
    name = next((name for name in ("reference", "score.weight", *only) if name in shapes), None)
    if name is None or prod(shapes[name]) != max(shapes[name], default=0):  # neither [D] nor [1, D]
        remedy = 'save one float vector [D] in it, named "reference"'
        raise DataError(f"the file holds {_describe(shapes)}", remedy, file=path)
    return _read_tensor(path, name).reshape(-1)


def _float_shapes(path: str | Path) -> dict[str, list[int]]:
    """Return the shapes of the float tensors in a safetensors file, by name."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).exists():
        raise DataError("the file does not exist", "check the path", file=path)
    try:
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - the file is no dict
            return {name: one.get_shape() for name, one in slices.items() if one.get_dtype() in DTYPES}
    except (SafetensorError, OSError) as error:
        raise DataError(
            f"the file is not a readable safetensors file ({error})", "save the embeddings as safetensors", file=path
        ) from error


def _read_tensor(path: str | Path, name: str) -> torch.Tensor:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        tensor: torch.Tensor = file.get_tensor(name)
    return tensor


def _describe(shapes: dict[str, list[int]]) -> str:
    listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    return f"the float tensors {listed}" if listed else "no float tensor"
