"""Read Parquet files: only the columns that are used, in batches of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lorerm.data.readers.format import BATCH, Format, Row, needed_columns, open_binary
from lorerm.errors import DataError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def _read(path: Path, user_column: str) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with open_binary(path) as stream, pq.ParquetFile(stream) as file:
            for batch in file.iter_batches(BATCH, columns=needed_columns(file.schema_arrow.names, user_column)):
                for record in batch.to_pylist():
                    number += 1
                    yield Row(str(path), number, record)
    except pa.ArrowException as error:
        raise DataError(
            f"the file is not a readable Parquet file ({first_line(error)})", "write the file again", file=path
        ) from error


FORMAT = Format(_read, (".parquet",))
