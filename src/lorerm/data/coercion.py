"""Convert values of an input row to Python types, for all file formats: nulls, lists, numbers and ids."""

from __future__ import annotations

import math

import numpy as np

from lorerm.errors import DataError


def is_missing(value: object) -> bool:
    """Return True if a value is a null: None, or NaN (the null in a column of floats)."""
    return value is None or (isinstance(value, float) and math.isnan(value))


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
    """Return a whole number, also if stored as a float (3.0), as an int. Return None if the value is anything else."""
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return int(value)
    number = as_number(value)
    return int(number) if number is not None and number.is_integer() else None


def parse_id(value: object, column: str) -> str | None:
    """Return the id of a user or prompt as a string. Return None if it is a null or a blank string.

    An id is a string, which is kept unchanged, or a whole number. `column` is the name of the column in errors.

    Examples
    --------
    >>> parse_id("007", "user_id"), parse_id(7.0, "user_id"), parse_id(None, "user_id")
    ('007', '7', None)
    """
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise DataError(
                f'column "{column}" contains a lone surrogate, which UTF-8 cannot store',
                "correct the encoding of the text",
                column=column,
            ) from None
        return value if value.strip() else None
    if is_missing(value):
        return None
    number = as_whole_number(value)
    if number is None:
        raise DataError(f'column "{column}" is {describe(value)}', "give a string or a whole number", column=column)
    return str(number)


def require_id(value: object, column: str) -> str:
    """Return an id as `parse_id` does. Raises `DataError` if there is none."""
    found = parse_id(value, column)
    if found is None:
        raise DataError(f'column "{column}" is empty', "give an id, or leave the row out", column=column)
    return found


def describe(value: object) -> str:
    """Describe a value for an error: a number by its value, anything else by its type, since texts may be private."""
    if is_missing(value) or (isinstance(value, str) and not value.strip()):
        return "empty"
    if isinstance(value, (int, float, np.number)):
        return f"{value!s:.40}"
    return "a string" if isinstance(value, str) else f"of type {type(value).__name__}"
