"""Divide the users in Parquet files into partitions, so that one worker of a cluster reads all feedback of a user."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

import numpy as np

from lorerm.data.ids import require_id
from lorerm.data.readers.files import DataFile
from lorerm.data.schema import missing_column
from lorerm.errors import DataError, first_line

Item = TypeVar("Item")

MAX_ROWS = 10_000
"""Maximum number of rows per partition. With two embeddings per row, of dimension 4096 in float32, they take 320 MB."""

_ROWS_PER_READ = 100_000


@dataclass(frozen=True)
class Partition:
    """Some users, and all files that contain feedback from them."""

    files: tuple[DataFile, ...]
    """the files, in the order of the input"""
    users: frozenset[str] | None
    """the users in the partition; None: all users in the files"""
    first: bool = True
    """whether this is the first partition that reads these files"""


def partition_users(
    files: Sequence[DataFile], user_column: str, n_partitions: int, max_rows: int = MAX_ROWS
) -> tuple[list[Partition], tuple[str, ...]]:
    """Return partitions of the users in Parquet files, and all users in the order of their first appearance.

    - Only the column of the users is read.
    - There are about `n_partitions` partitions of equal size, or more. If a few users have most of the rows, there can
      be fewer. A partition has at most `max_rows` rows, unless a single user has more.
    - Files that have users in common form a group. A large group is divided by users; then each of its partitions reads
      all its files. A small group stays whole. So if folders are partitioned by user, every file is read only once.
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
    """Return the number of rows of each user in a file, in the order of first appearance."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not file.path.name.lower().endswith(".parquet"):
        raise DataError(
            "the file is not a Parquet file, and --engine ray reads only Parquet files",
            "write the feedback as Parquet, or use --engine local",
            file=file.path,
        )
    counts: Counter[str] = Counter()
    try:
        with pq.ParquetFile(file.path) as parquet:
            if user_column in file.values:  # the folder's name, such as user_id=u7, gives the user of all rows
                if parquet.metadata.num_rows:
                    counts[require_id(file.values[user_column], user_column)] = parquet.metadata.num_rows
                return counts
            if user_column not in parquet.schema_arrow.names:
                raise missing_column(
                    user_column,
                    parquet.schema_arrow.names,
                    "give the name of the users' column with user_column (--user-column)",
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
    """Group files that have users in common, directly or through other files; add up the counts in each group."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first: dict[str, int] = {}  # the first file of each user
    # Each edge connects a file with the first file of one of its users.
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
    """Divide items, each with its number of rows, into parts of at most `max_rows` rows or of one larger item."""
    parts: list[list[Item]] = []
    size = 0
    for item, n_rows in items:
        if not parts or size + n_rows > max_rows:
            parts.append([])
            size = 0
        parts[-1].append(item)
        size += n_rows
    return parts
