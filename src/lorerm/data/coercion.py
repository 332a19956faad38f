"""Convert values of an input row to Python types, for all file formats: nulls, lists and numbers."""

from __future__ import annotations

import math

import numpy as np


def is_missing(value: object) -> bool:
    """Return whether a value is a null: None, NaN (the null in a column of floats), or the null of pandas or NumPy."""
    if value is None or value is np.ma.masked:
        return True
    if isinstance(value, (float, np.floating)):
        return math.isnan(value)
    # The type is compared by name, so that pandas need not be imported.
    return type(value).__name__ in ("NAType", "NaTType") and type(value).__module__.startswith("pandas")


def as_list(value: object) -> list[object] | None:
    """Return the entries of a list, tuple or array as a list. Return None if the value is of another type."""
    return list(value) if isinstance(value, (list, tuple, np.ndarray)) else None


def as_number(value: object) -> float | None:
    """Return a finite number as a float. Return None if the value is anything else, including True and False."""
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        try:
            return float(value) if math.isfinite(value) else None
        except OverflowError:  # a whole number beyond the range of floats
            return None
    return None


def as_whole_number(value: object) -> int | None:
    """Return a whole number as an int, also if it is stored as a float (3.0). Return None for any other value."""
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return int(value)
    number = as_number(value)
    return int(number) if number is not None and number.is_integer() else None


def describe(value: object) -> str:
    """Describe a value for an error: a number by its value, anything else by its type, since texts may be private."""
    if is_missing(value) or (isinstance(value, str) and not value.strip()):
        return "empty"
    if isinstance(value, (int, float, np.number)):
        return f"{value!s:.40}"
    return "a string" if isinstance(value, str) else f"of type {type(value).__name__}"
