"""Ids of users and prompts: the one rule by which every input becomes an id."""

from __future__ import annotations

from lorerm.data.coercion import as_whole_number, describe, is_missing
from lorerm.errors import DataError


def parse_id(value: object, column: str) -> str | None:
    """Return a user or prompt id as a string.

    Parameters
    ----------
    value
        A string, which stays as it is written ("007" is not "7"), or a whole number, which may be stored as a float.
    column
        The column it comes from, for errors.

    Returns
    -------
    str or None
        None where there is no id: a null or a blank string.

    Raises
    ------
    DataError
        The value is of another type, or a string that UTF-8 cannot hold.

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
                f'column "{column}" holds a lone surrogate, which UTF-8 cannot store',
                "repair the text's encoding",
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
    """Return a user or prompt id as `parse_id` does, where every row must have one.

    Raises
    ------
    DataError
        There is no id, or the value is none.
    """
    found = parse_id(value, column)
    if found is None:
        raise DataError(f'column "{column}" is empty', "fill it, or leave the row out", column=column)
    return found
