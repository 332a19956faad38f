"""Embeddings in requests: lists of numbers, or base64 of little-endian float32, which is read many times as fast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import ConfigDict, Field, WithJsonSchema

from lorerm.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_NUMBERS = 65_536
_NUMBERS = Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(max_length=MOST_NUMBERS, fail_fast=True)]

Vector = Annotated[
    bytes | _NUMBERS,
    Field(union_mode="left_to_right"),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": MOST_NUMBERS},
                {"type": "string", "contentEncoding": "base64", "description": "little-endian float32"},
            ]
        }
    ),
]
"""As it is in a request; `as_rows` makes arrays of it."""

BASE64 = ConfigDict(val_json_bytes="base64", ser_json_bytes="base64")
"""The setting of a model with a field that is a `Vector`."""

Vector32 = np.ndarray[Any, np.dtype[np.float32]]


def as_rows(vectors: Sequence[bytes | list[float]], dimension: int) -> Vector32:
    """Return float32 [n, D]; numbers beyond float32 become infinite.

    Raises
    ------
    DataError
        If one has another length.
    """
    if all(type(vector) is bytes and len(vector) == 4 * dimension for vector in vectors):
        return np.frombuffer(b"".join(vectors), dtype="<f4").reshape(-1, dimension)  # type: ignore[arg-type]
    return np.stack([_row(vector, dimension) for vector in vectors])


def _row(vector: bytes | list[float], dimension: int) -> Vector32:
    if isinstance(vector, bytes):
        length, rest = divmod(len(vector), 4)
    else:
        length, rest = len(vector), 0
    if rest or length != dimension:
        raise DataError(
            f"an embedding has {length} numbers{' and some bytes' if rest else ''}, the model's have {dimension}",
            "embed with the encoder that the model was trained on, as float32",
        )
    if isinstance(vector, bytes):
        return np.frombuffer(vector, dtype="<f4")
    with np.errstate(over="ignore"):
        return np.array(vector, dtype=np.float64).astype(np.float32)
