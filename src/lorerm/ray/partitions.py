"""Divide the users of Parquet files into partitions, so that one worker of a cluster reads all feedback of a user."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

import numpy as np

from lorerm.data.coercion import require_id
from lorerm.data.readers.files import DataFile
from lorerm.data.schema import missing_column
from lorerm.errors import DataError, first_line

Item = TypeVar("Item")

MAX_ROWS = 10_000
"""Maximum number of rows of a partition: with two embeddings each of dimension 4096 in float32, 320 MB."""

_ROWS_PER_READ = 100_000


@dataclass(frozen=True)
class Partition:
    """Some users, and all files with feedback of theirs."""

    files: tuple[DataFile, ...]
    """in the order of the input"""
    users: frozenset[str] | None
    """the users of the files that belong to the partition; None is all of them"""
    first: bool = True
    """whether no partition before this one reads the same files"""


def partition_users(
    files: Sequence[DataFile], user_column: str, n_partitions: int, max_rows: int = MAX_ROWS
) -> tuple[list[Partition], tuple[str, ...]]:
    """Divide the users of Parquet files into partitions; only the column of the users is read.

    A partition has at most `max_rows` rows, unless a single user has more. There are at least `n_partitions`, if there
    are as many users. The second result is all users, in order of first appearance.

    Files that have no user in common with other files stay whole. So where the folders are partitioned by user, every
    file is read once. A file with many rows, or with users that other files have too, is read once per partition of its
    users.
    """
    counts = [_count_users(file, user_column) for file in files]
    size = max(1, min(max_rows, sum(rows.total() for rows in counts) // n_partitions))
    partitions: list[Partition] = []
    whole: list[tuple[list[DataFile], int]] = []
    for together, rows in _file_groups(files, counts):
        if rows.total() > size and len(rows) > 1:
            for index, users in enumerate(_pack(rows.items(), size)):
                partitions.append(Partition(tuple(together), frozenset(users), first=index == 0))
        else:
            whole.append((together, rows.total()))
    partitions += [Partition(tuple(chain(*part)), None) for part in _pack(whole, size)]
    return partitions, tuple(dict.fromkeys(chain(*counts)))


def _count_users(file: DataFile, user_column: str) -> Counter[str]:
    """Return the number of rows of each user of a file, in order of first appearance."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not file.path.name.lower().endswith(".parquet"):
        raise DataError(
            "it is not a Parquet file, and --engine ray reads no others",
            "write the feedback as Parquet, or use --engine local",
            file=file.path,
        )
    counts: Counter[str] = Counter()
    try:
        with pq.ParquetFile(file.path) as parquet:
            if user_column in file.values:
                if parquet.metadata.num_rows:
                    counts[require_id(file.values[user_column], user_column)] = parquet.metadata.num_rows
                return counts
            if user_column not in parquet.schema_arrow.names:
                raise missing_column(
                    user_column, parquet.schema_arrow.names, "say with user_column (--user-column) which it is"
                )
            for batch in parquet.iter_batches(_ROWS_PER_READ, columns=[user_column]):
                for entry in batch.column(0).value_counts().to_pylist():
                    counts[require_id(entry["values"], user_column)] += entry["counts"]
    except (OSError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise DataError(
            f"the Parquet file cannot be read ({reason})", "check the file, or write it again", file=file.path
        ) from error
    except DataError as error:
        raise DataError(error.problem, error.remedy, file=file.path, column=error.location.column) from error
    return counts


def _file_groups(
    files: Sequence[DataFile], counts: Sequence[Counter[str]]
) -> Iterable[tuple[list[DataFile], Counter[str]]]:
    """Group files by the users that they have in common, directly or through other files; add up their counts."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first: dict[str, int] = {}  # the first file of each user
    edges = [(file, first.setdefault(user, file)) for file, rows in enumerate(counts) for user in rows]
    ends = np.array(edges, dtype=np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(edges)), (ends[0], ends[1])), shape=(len(files), len(files)))
    groups: dict[int, tuple[list[DataFile], Counter[str]]] = {}
    for file, rows, label in zip(files, counts, connected_components(graph, directed=False)[1].tolist(), strict=True):
        together, sums = groups.setdefault(label, ([], Counter()))
        together.append(file)
        sums.update(rows)
    return groups.values()


def _pack(items: Iterable[tuple[Item, int]], max_rows: int) -> list[list[Item]]:
    """Divide items, each with its number of rows, into parts of at most `max_rows` rows; a larger item is a part."""
    parts: list[list[Item]] = []
    size = 0
    for item, n_rows in items:
        if not parts or size + n_rows > max_rows:
            parts.append([])
            size = 0
        parts[-1].append(item)
        size += n_rows
    return parts
