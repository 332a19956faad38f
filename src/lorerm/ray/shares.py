"""How answers in Parquet files are shared out among workers, so that no user stands in two shares."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lorerm.data.ids import require_id
from lorerm.data.schema import missing_column
from lorerm.errors import DataError, first_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lorerm.data.readers.folders import DataFile

MOST_ANSWERS = 10_000
"""Of a share: with two embeddings each, of 4,096 numbers, these are 320 MB."""

_BATCH = 100_000


@dataclass(frozen=True)
class Share:
    """Some users, and all files that hold answers of theirs."""

    files: tuple[DataFile, ...]
    """in the order of the input"""
    users: frozenset[str] | None
    """whose answers in the files belong to the share; None is everybody's"""
    first: bool = True
    """whether no share before it reads the same files"""


@dataclass(frozen=True)
class _Group:
    """Files that have users in common, and no user in common with another group."""

    files: list[int]
    answers: dict[str, int]
    """of each user, in order of first appearance"""


def share_out(
    files: Sequence[DataFile], user_column: str, n_shares: int, most: int = MOST_ANSWERS
) -> tuple[list[Share], tuple[str, ...]]:
    """Share out the answers of users, of which only the column of the users is read here.

    Files that share no user with others stay whole: where answers are partitioned by user, every file is read once.
    Where users are spread over several files, or a file holds many answers, it is read once for every share of them.

    Parameters
    ----------
    files
        Parquet files.
    user_column
        The column of the users.
    n_shares
        How many shares there should be at least, if there are as many users.
    most
        The most answers of a share; a user with more has one to themselves.

    Returns
    -------
    shares : list of Share
    user_ids : tuple of str
        All users, in order of first appearance.

    Raises
    ------
    DataError
        A file is missing, damaged or no Parquet, or does not name its users.
    """
    users = [_count_users(file, user_column) for file in files]
    size = max(1, min(most, sum(sum(counts.values()) for counts in users) // n_shares))
    shares: list[Share] = []
    together: list[DataFile] = []
    room = size
    for group in _groups(users):
        total = sum(group.answers.values())
        if total > size and len(group.answers) > 1:
            shares += _divide(group, files, size)
            continue
        if together and total > room:
            shares.append(Share(tuple(together), None))
            together, room = [], size
        together += [files[place] for place in group.files]
        room -= total
    if together:
        shares.append(Share(tuple(together), None))
    return shares, tuple(dict.fromkeys(user for counts in users for user in counts))


def _count_users(file: DataFile, user_column: str) -> Mapping[str, int]:
    """Return how many rows each user of a file has, in order of first appearance."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not file.path.name.lower().endswith(".parquet"):
        raise DataError(
            f"{file.path} is no Parquet file, and --engine ray reads no others",
            "write the answers as Parquet, or use --engine local",
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
            for batch in parquet.iter_batches(_BATCH, columns=[user_column]):
                for entry in batch.column(0).value_counts().to_pylist():
                    counts[require_id(entry["values"], user_column)] += entry["counts"]
    except OSError as error:
        raise DataError(
            f"{file.path} cannot be read ({error.strerror or first_line(error)})", "check the file"
        ) from error
    except pa.ArrowException as error:
        raise DataError(
            f"{file.path} is not a readable Parquet file ({first_line(error)})", "write it again"
        ) from error
    except DataError as error:
        raise DataError(error.problem, error.remedy, file=file.path, column=error.location.column) from error
    return dict(counts)


def _groups(users: Sequence[Mapping[str, int]]) -> list[_Group]:
    """Group files, of which the users' counts are given, so that no user is in two groups."""
    parent = list(range(len(users)))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    first: dict[str, int] = {}
    for place, some in enumerate(users):
        for user in some:
            a, b = sorted((root(place), root(first.setdefault(user, place))))
            parent[b] = a
    groups: dict[int, _Group] = {}
    for place, some in enumerate(users):
        group = groups.setdefault(root(place), _Group([], defaultdict(int)))
        group.files.append(place)
        for user, count in some.items():
            group.answers[user] += count
    return list(groups.values())


def _divide(group: _Group, files: Sequence[DataFile], n_answers: int) -> list[Share]:
    """Divide the users of a group among shares, in their order."""
    parts: list[list[str]] = [[]]
    size = 0
    for user, count in group.answers.items():
        if parts[-1] and size + count > n_answers:
            parts.append([])
            size = 0
        parts[-1].append(user)
        size += count
    read = tuple(files[place] for place in group.files)
    return [Share(read, frozenset(part), first=number == 0) for number, part in enumerate(parts)]
