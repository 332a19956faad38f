"""Embeddings in requests: lists of numbers, or base64 of little-endian float32, which is read much faster."""

from __future__ import annotations

import binascii
from typing import Annotated, Any

import numpy as np
from pydantic import ConfigDict, PlainSerializer, PlainValidator, TypeAdapter, ValidationError, WithJsonSchema

# Several times as fast as the standard library's, and as strict; takes the URL-safe alphabet too.
_decode = TypeAdapter(bytes, config=ConfigDict(val_json_bytes="base64")).validator.validate_strings

MOST_NUMBERS = 65_536
_NUMBERS = {int, float}

Vector32 = np.ndarray[Any, np.dtype[np.float32]]


def read_vector(value: object) -> Vector32:
    """Return float32 [D]; anything else is a ValueError that does not repeat what was sent."""
    if isinstance(value, str):
        try:
            data = _decode(value)
        except ValidationError:
            raise ValueError("it is not base64") from None
        if not data or len(data) % 4:
            raise ValueError(f"its base64 holds {len(data)} bytes, which are no float32 numbers")
        return np.frombuffer(data, dtype="<f4")
    if not isinstance(value, list) or not value:
        raise ValueError("give a list of numbers, or base64 of little-endian float32")
    if len(value) > MOST_NUMBERS or not set(map(type, value)) <= _NUMBERS:
        raise ValueError(f"give at most {MOST_NUMBERS} numbers, and nothing else")
    try:
        with np.errstate(over="ignore"):
            return np.array(value, dtype=np.float64).astype(np.float32)
    except OverflowError:  # a whole number beyond all floats
        raise ValueError("a number is too large") from None


def write_vector(vector: Vector32) -> str:
    """Return base64 of little-endian float32."""
    return binascii.b2a_base64(vector.astype("<f4").tobytes(), newline=False).decode()


Vector = Annotated[
    Vector32,
    PlainValidator(read_vector),
    PlainSerializer(write_vector),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": MOST_NUMBERS},
                {"type": "string", "contentEncoding": "base64", "description": "little-endian float32"},
            ]
        }
    ),
]
