"""Read Parquet files: only the columns that are used, in batches of rows."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO

from lorerm.data.readers.format import (
    BATCH,
    Format,
    Row,
    check_columns,
    narrow_ids,
    needed_columns,
    open_binary,
    with_types,
)
from lorerm.errors import DataError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def _read(path: Path, user_column: str) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with open_binary(path) as stream, pq.ParquetFile(_seekable(stream)) as file:
            check_columns(file.schema_arrow.names, user_column, path)
            kinds = narrow_ids({field.name: field.type for field in file.schema_arrow}, user_column)
            for batch in file.iter_batches(BATCH, columns=needed_columns(file.schema_arrow.names, user_column)):
                for record in batch.to_pylist():
                    number += 1
                    yield Row(str(path), number, with_types(record, kinds))
    except pa.ArrowException as error:
        raise DataError(
            f"the file is not a readable Parquet file ({first_line(error)})", "write the file again", file=path
        ) from error


def _seekable(stream: BinaryIO) -> BinaryIO:
    """Return a stream that can be read in any order. If the given stream cannot, read it into memory."""
    return stream if stream.seekable() else io.BytesIO(stream.read())


FORMAT = Format(_read, (".parquet",))
