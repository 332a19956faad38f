"""Rows of a table in memory: a DataFrame of pandas or polars, or an Arrow table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from lorerm.data.readers.format import BATCH, check_columns, narrow_ids, with_types
from lorerm.errors import DataError


class Table(Protocol):
    """A table with named columns: `pandas.DataFrame`, `polars.DataFrame` or `pyarrow.Table`."""

    @property
    def columns(self) -> Any:  # noqa: ANN401 - the libraries return lists or an index of names, or arrays
        """The names of the columns; in an Arrow table, the values of the columns."""


def table_records(records: Iterable[Mapping[str, object]] | Table, user_column: str) -> Iterator[Mapping[str, object]]:
    """Yield the rows of a table as mappings; rows that are mappings already are returned as they are.

    Raises `DataError` if `records` is neither a table nor rows, or has a column twice.
    """
    is_table = hasattr(records, "columns")
    if isinstance(records, (str, bytes, Path, Mapping)) or not (is_table or isinstance(records, Iterable)):
        raise DataError(
            f"records is a {type(records).__name__}",
            "give a list of rows (mappings with named columns) or a table; read files with Preferences.from_files",
            argument="records",
        )
    table: Any = records
    if not is_table:
        return iter(table)
    is_arrow = hasattr(table, "to_pylist")
    names = list(map(str, table.schema.names if is_arrow else table.columns))
    check_columns(names, user_column, type(table).__name__)
    types = table.schema.types if is_arrow else getattr(table, "dtypes", [None] * len(names))
    kinds = narrow_ids(dict(zip(names, types, strict=True)), user_column)
    if is_arrow:
        return (
            with_types(row, kinds)
            for start in range(0, table.num_rows, BATCH)
            for row in table.slice(start, BATCH).to_pylist()
        )
    rows = table.itertuples(index=False, name=None) if hasattr(table, "itertuples") else table.iter_rows()
    return (with_types(dict(zip(names, row, strict=True)), kinds) for row in rows)
