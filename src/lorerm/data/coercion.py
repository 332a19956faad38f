"""Coercion of the values of a row to Python types, whatever reader they came from: nulls, lists, numbers."""

from __future__ import annotations

import math

import numpy as np


def is_missing(value: object) -> bool:
    """Return whether a value is a null: None, or the NaN that a table of floats has in its place."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def as_list(value: object) -> list[object] | None:
    """Return the entries of a list, a tuple or an array (which some readers give for a list); None for other values."""
    return list(value) if isinstance(value, (list, tuple, np.ndarray)) else None


def as_number(value: object) -> float | None:
    """Return a finite number as a float; None for other values, True and False among them."""
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        try:
            return float(value) if math.isfinite(value) else None
        except OverflowError:  # a whole number beyond the range of floats
            return None
    return None


def as_whole_number(value: object) -> int | None:
    """Return a whole number, which may be stored as a float (3.0), as an int; None for other values."""
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return int(value)
    number = as_number(value)
    return int(number) if number is not None and number.is_integer() else None


def describe(value: object) -> str:
    """Return how an error names a value: a number as it is, else its type alone, since texts may be private."""
    if is_missing(value) or (isinstance(value, str) and not value.strip()):
        return "empty"
    if isinstance(value, (int, float, np.number)):
        return f"{value!s:.40}"
    return "a string" if isinstance(value, str) else f"of type {type(value).__name__}"
