"""The kinds of values in a row, whatever reader it came from: nulls, lists, numbers."""

from __future__ import annotations

import math

import numpy as np


def is_missing(value: object) -> bool:
    """Tell a null, or the NaN that stands for one in a table of floats."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def is_list(value: object) -> bool:
    """Tell a list, a tuple, or the array that some readers give in their place."""
    return isinstance(value, (list, tuple, np.ndarray))


def as_list(value: object) -> list[object] | None:
    """Give the entries of what `is_list` says is a list, else None."""
    return list(value) if isinstance(value, (list, tuple, np.ndarray)) else None


def as_number(value: object) -> float | None:
    """Read a finite number, which a truth value is not; None when it is none."""
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        try:
            return float(value) if math.isfinite(value) else None
        except OverflowError:  # a whole number beyond the range of floats
            return None
    return None


def as_whole_number(value: object) -> int | None:
    """Read a whole number, which may have come as a float; None when it is none."""
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return int(value)
    number = as_number(value)
    return int(number) if number is not None and number.is_integer() else None
