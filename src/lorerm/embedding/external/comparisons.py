"""Comparisons between rows of a matrix of embeddings, from Parquet, CSV or JSON-lines files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lorerm.data.readers.files import read_rows
from lorerm.data.schema import parse_split
from lorerm.data.values import as_number, as_whole_number, is_missing
from lorerm.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from lorerm.data.readers.files import Row

_NEEDED = ("user_id", "chosen", "rejected")
_LARGEST_ROW = np.iinfo(np.int64).max


class _Comparison(NamedTuple):
    user_id: str
    chosen: int
    rejected: int
    prompt_id: str | None
    weight: float
    split: str | None


def read_comparisons(path: str | Path) -> dict[str, Any]:
    """Read comparisons.

    Parameters
    ----------
    path
        A table with the columns `user_id`, `chosen`, `rejected` (rows of the matrix, from 0), and optionally
        `prompt_id`, `weight` and `split`. Ids stay as they are written: 007 is another user than 7.

    Returns
    -------
    dict
        Arguments of `EmbeddedPreferences.from_arrays`, all but the matrix.

    Raises
    ------
    DataError
        If the file cannot be read, a column is missing, or a cell does not hold what it should; the message names row
        and column, and repeats no text of the file.
    """
    comparisons = map(_parse_row, read_rows(path, "user_id"))
    columns = dict(zip(_Comparison._fields, zip(*comparisons, strict=True), strict=True))
    prompt_ids = columns["prompt_id"]
    lacking = prompt_ids.count(None)
    if 0 < lacking < len(prompt_ids):
        raise DataError(
            f"{path}: {lacking:,} rows have no prompt_id, the others have", "give it in all rows or in none"
        )
    return {
        "chosen": np.array(columns["chosen"], dtype=np.int64),
        "rejected": np.array(columns["rejected"], dtype=np.int64),
        "user_ids": np.array(columns["user_id"], dtype=object),
        "prompt_ids": None if lacking else np.array(prompt_ids, dtype=object),
        "weights": np.array(columns["weight"], dtype=np.float64),
        "splits": np.array(columns["split"], dtype=object) if any(columns["split"]) else None,
    }


def _parse_row(row: Row) -> _Comparison:
    """Check one row, and name it in every error."""
    try:
        return _parse(row.record)
    except DataError as error:
        raise DataError(f"{row.source}, row {row.number}: {error.problem}", error.remedy) from error


def _parse(record: object) -> _Comparison:
    if not isinstance(record, Mapping):
        raise DataError(f"it is a {type(record).__name__}", "give one object with named columns per row")
    for name in _NEEDED:
        if name not in record:
            raise DataError(
                f'there is no column "{name}" (columns found: {", ".join(map(str, record)) or "none"})',
                "give the columns user_id, chosen, rejected and, if known, prompt_id",
            )
    return _Comparison(
        user_id=_parse_id(record["user_id"], "user_id"),
        chosen=_parse_row_number(record["chosen"], "chosen"),
        rejected=_parse_row_number(record["rejected"], "rejected"),
        prompt_id=_parse_id(record["prompt_id"], "prompt_id") if "prompt_id" in record else None,
        weight=_parse_weight(record.get("weight")),
        split=parse_split(record.get("split")),
    )


def _parse_id(value: object, column: str) -> str:
    """Read an identifier: a string as it is, or a whole number."""
    if is_missing(value) or (isinstance(value, str) and not value.strip()):
        raise DataError(f'column "{column}" is empty', "fill it in, or leave the row out")
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise DataError(f'column "{column}" is no valid text', "repair the text's encoding") from None
        return value
    number = as_whole_number(value)
    if number is None:
        raise DataError(f'column "{column}" is {_what(value)}', "give a string or a whole number")
    return str(number)


def _parse_row_number(value: object, column: str) -> int:
    """Read a row of the matrix; whether there is one is checked against the matrix."""
    number = as_whole_number(value)
    if isinstance(value, str) and value.strip().removeprefix("-").isdecimal():  # all cells of a CSV file are strings
        number = int(value)
    if number is None or abs(number) > _LARGEST_ROW:
        raise DataError(
            f'column "{column}" is {_what(value)}', "give the row of the response in the matrix, counted from 0"
        )
    return number


def _parse_weight(value: object) -> float:
    """Read a weight; 1 when there is none."""
    if is_missing(value):
        return 1.0
    weight = as_number(value)
    if weight is None or weight <= 0:
        raise DataError(f'column "weight" is {_what(value)}', "give a positive finite number, or leave it out for 1")
    return weight


def _what(value: object) -> str:
    """Name a value without repeating what somebody wrote."""
    if isinstance(value, str):
        return "no whole number" if value.strip() else "empty"
    if is_missing(value):
        return "empty"
    return str(value) if isinstance(value, (int, float)) else f"of type {type(value).__name__}"
