"""Read data sets of the `datasets` library: objects in memory, and folders written by `save_to_disk`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lorerm.data.coercion import is_missing
from lorerm.data.readers.format import BATCH, Format, Row, narrow_ids, needed_columns, with_types
from lorerm.data.schema import parse_split
from lorerm.errors import DataError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import datasets


def dataset_rows(
    dataset: datasets.Dataset | datasets.DatasetDict, user_column: str, source: str = "dataset"
) -> Iterator[Row]:
    """Yield the rows of a data set in memory. `source` is its name in errors.

    Only the columns that `needed_columns` returns are read. If a `DatasetDict` has several splits, rows without a value
    in the column `split` get the name of their split.
    """
    if isinstance(dataset, Mapping):
        for name, part in dataset.items():
            label = _split_label(str(name), source) if len(dataset) > 1 else None
            for row in dataset_rows(part, user_column, f"{source}, split {name}"):
                if label is not None and isinstance(row.record, dict) and is_missing(row.record.get("split")):
                    row.record["split"] = label
                yield row
        return
    if not hasattr(dataset, "column_names") or not hasattr(dataset, "with_format"):
        raise DataError(
            f"{source} is a {type(dataset).__name__}, not a datasets.Dataset or DatasetDict",
            "use Preferences.from_records for plain rows",
        )
    if dataset.column_names:
        dataset = dataset.select_columns(needed_columns(dataset.column_names, user_column))
    features = getattr(dataset, "features", None) or {}
    kinds = narrow_ids({name: getattr(feature, "dtype", None) for name, feature in features.items()}, user_column)
    number = 0
    for batch in dataset.with_format(None).iter(BATCH):
        for values in zip(*batch.values(), strict=True):
            number += 1
            yield Row(source, number, with_types(dict(zip(batch, values, strict=True)), kinds))


def load_folder(folder: Path) -> datasets.Dataset | datasets.DatasetDict:
    """Load a folder written by `save_to_disk`. Raises `DataError` if it is damaged."""
    import pyarrow as pa
    from datasets import load_from_disk

    try:
        return load_from_disk(str(folder))
    except (pa.ArrowInvalid, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"the folder is damaged ({first_line(error)})", "save the data set again", file=folder
        ) from error


def _split_label(name: str, source: str) -> str | None:
    try:
        return parse_split(name)
    except DataError:
        raise DataError(
            f"{source} has a split {name!r:.40}",
            "name the splits train, validation or test, or give only one split",
            column="split",
        ) from None


def _read(path: Path, user_column: str) -> Iterator[Row]:
    return dataset_rows(load_folder(path), user_column, str(path))


FORMAT = Format(_read, folder_markers=("dataset_dict.json", "state.json"))
