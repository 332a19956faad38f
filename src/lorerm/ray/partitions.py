"""Partitions of users in Parquet files, such that one worker of a cluster reads all feedback of a user."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lorerm.data.coercion import require_id
from lorerm.data.schema import missing_column
from lorerm.errors import DataError, first_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lorerm.data.readers.files import DataFile

MAX_ROWS = 10_000
"""Maximum number of rows of a partition: with two embeddings each of dimension 4096 in float32, 320 MB."""

_ROWS_PER_READ = 100_000


@dataclass(frozen=True)
class Partition:
    """Some users, and all files with feedback of theirs."""

    files: tuple[DataFile, ...]
    """in the order of the input"""
    users: frozenset[str] | None
    """the users in the files that belong to the partition; None is all of them"""
    first: bool = True
    """whether no earlier partition reads the same files"""


@dataclass(frozen=True)
class _FileGroup:
    """Files that have users in common with each other, and none with the files of another group."""

    files: list[DataFile]
    rows: dict[str, int]
    """number of rows of each user, in order of first appearance"""


def partition_users(
    files: Sequence[DataFile], user_column: str, n_partitions: int, max_rows: int = MAX_ROWS
) -> tuple[list[Partition], tuple[str, ...]]:
    """Divide the users of Parquet files into partitions; only the column of the users is read.

    Files that have no user in common with other files stay whole. So where the folders are partitioned by user, every
    file is read once. A file with many rows, or with users that other files have too, is read once per partition of its
    users.

    Parameters
    ----------
    files
        Parquet files.
    user_column
        The column with the users' ids.
    n_partitions
        The minimum number of partitions, if there are as many users.
    max_rows
        The maximum number of rows of a partition, unless a single user has more.

    Returns
    -------
    partitions : list of Partition
    user_ids : tuple of str
        All users, in order of first appearance.

    Raises
    ------
    DataError
        A file is missing, damaged or not Parquet, or has a row without a user.
    """
    counts = [_count_users(file, user_column) for file in files]
    size = max(1, min(max_rows, sum(sum(rows.values()) for rows in counts) // n_partitions))
    partitions: list[Partition] = []
    together: list[DataFile] = []
    room = size
    for group in _file_groups(files, counts):
        total = sum(group.rows.values())
        if total > size and len(group.rows) > 1:
            partitions += _divide(group, size)
            continue
        if together and total > room:
            partitions.append(Partition(tuple(together), None))
            together, room = [], size
        together += group.files
        room -= total
    if together:
        partitions.append(Partition(tuple(together), None))
    return partitions, tuple(dict.fromkeys(user for rows in counts for user in rows))


def _count_users(file: DataFile, user_column: str) -> Mapping[str, int]:
    """Return the number of rows of each user of a file, in order of first appearance."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not file.path.name.lower().endswith(".parquet"):
        raise DataError(
            "it is not a Parquet file, and --engine ray reads no others",
            "write the feedback as Parquet, or use --engine local",
            file=file.path,
        )
    counts: dict[str, int] = defaultdict(int)
    try:
        with pq.ParquetFile(file.path) as parquet:
            if user_column in file.values:
                if parquet.metadata.num_rows:
                    counts[require_id(file.values[user_column], user_column)] = parquet.metadata.num_rows
                return dict(counts)
            if user_column not in parquet.schema_arrow.names:
                raise missing_column(
                    user_column, parquet.schema_arrow.names, "say with user_column (--user-column) which it is"
                )
            for batch in parquet.iter_batches(_ROWS_PER_READ, columns=[user_column]):
                for entry in batch.column(0).value_counts().to_pylist():
                    counts[require_id(entry["values"], user_column)] += entry["counts"]
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise DataError(f"the file cannot be read ({reason})", "check the file", file=file.path) from error
    except pa.ArrowException as error:
        reason = first_line(error)
        raise DataError(f"the Parquet file cannot be read ({reason})", "write it again", file=file.path) from error
    except DataError as error:
        raise DataError(error.problem, error.remedy, file=file.path, column=error.location.column) from error
    return dict(counts)


def _file_groups(files: Sequence[DataFile], counts: Sequence[Mapping[str, int]]) -> list[_FileGroup]:
    """Group files by the users that they have in common (union-find over the files)."""
    parent = list(range(len(files)))

    def root(file: int) -> int:
        while parent[file] != file:
            parent[file] = parent[parent[file]]
            file = parent[file]
        return file

    first: dict[str, int] = {}
    for file, rows in enumerate(counts):
        for user in rows:
            a, b = sorted((root(file), root(first.setdefault(user, file))))
            parent[b] = a
    groups: dict[int, _FileGroup] = {}
    for file, rows in enumerate(counts):
        group = groups.setdefault(root(file), _FileGroup([], defaultdict(int)))
        group.files.append(files[file])
        for user, n_rows in rows.items():
            group.rows[user] += n_rows
    return list(groups.values())


def _divide(group: _FileGroup, max_rows: int) -> list[Partition]:
    """Divide the users of a group among partitions, in their order."""
    parts: list[list[str]] = [[]]
    size = 0
    for user, n_rows in group.rows.items():
        if parts[-1] and size + n_rows > max_rows:
            parts.append([])
            size = 0
        parts[-1].append(user)
        size += n_rows
    return [Partition(tuple(group.files), frozenset(part), first=i == 0) for i, part in enumerate(parts)]
