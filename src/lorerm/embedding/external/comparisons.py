"""Read comparisons between the rows of an embedding matrix from a feedback file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from lorerm.data.coercion import as_whole_number, describe
from lorerm.data.comparisons import Comparisons, as_strings
from lorerm.data.ids import require_id
from lorerm.data.readers.files import read_rows
from lorerm.data.schema import missing_column, parse_split, parse_weight
from lorerm.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from lorerm.data.readers.format import Row

_REQUIRED = ("user_id", "chosen", "rejected")
_LARGEST_ROW = np.iinfo(np.int64).max


def read_comparisons(path: str | Path) -> Comparisons:
    """Read comparisons whose responses are given by their row numbers in a matrix.

    The file has the columns `user_id`, `chosen` and `rejected` (row numbers, counted from 0), and optionally
    `prompt_id`, `weight` and `split`. Whether the matrix has these rows is not checked. Ids are read by the rule of
    `lorerm.data.ids`: 007 and 7 are different users.

    Raises `DataError` if a row is invalid. The error names the file, row and column, but quotes no text of the file.
    """
    user_ids, chosen, rejected, prompt_ids, weights, splits = zip(
        *map(_parse_row, read_rows(path, "user_id")), strict=True
    )
    lacking = prompt_ids.count(None)
    if 0 < lacking < len(prompt_ids):
        raise DataError(
            f"{lacking:,} rows have no prompt_id, but the other rows have one",
            "give a prompt_id in all rows or in no row",
            file=path,
            column="prompt_id",
        )
    return Comparisons.from_columns(
        np.array(chosen, dtype=np.int64),
        np.array(rejected, dtype=np.int64),
        as_strings(user_ids),
        None if lacking else as_strings(prompt_ids),
        np.array(weights, dtype=np.float64),
        as_strings(splits) if any(splits) else None,
    )


def _parse_row(row: Row) -> tuple[str, int, int, str | None, float, str | None]:
    try:
        return _parse(row.record)
    except DataError as error:
        raise error.in_row(row.source, row.number) from error


def _parse(record: object) -> tuple[str, int, int, str | None, float, str | None]:
    """Return the user, chosen row, rejected row, prompt, weight and split of a comparison."""
    if not isinstance(record, Mapping):
        raise DataError(f"the row is a {type(record).__name__}", "give one object with named columns per row")
    for name in _REQUIRED:
        if name not in record:
            raise missing_column(name, record, "give the columns user_id, chosen, rejected and, if known, prompt_id")
    return (
        require_id(record["user_id"], "user_id"),
        _parse_row_number(record["chosen"], "chosen"),
        _parse_row_number(record["rejected"], "rejected"),
        require_id(record["prompt_id"], "prompt_id") if "prompt_id" in record else None,
        parse_weight(record.get("weight")),
        parse_split(record.get("split")),
    )


def _parse_row_number(value: object, column: str) -> int:
    number = as_whole_number(value)
    if isinstance(value, str) and value.strip().removeprefix("-").isdecimal():  # all values of a CSV file are strings
        number = int(value)
    if number is None or abs(number) > _LARGEST_ROW:
        raise DataError(
            f'column "{column}" is {describe(value)}',
            "give the row number of the response in the matrix, counted from 0",
            column=column,
        )
    return number
