"""All rows of a user are in the same partition."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lorerm.data.readers.files import DataFile, find_files
from lorerm.errors import DataError
from lorerm.ray.partitions import Partition, partition_users
from refusals import refused


def write(folder, name, users, column="user_id"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {"prompt": ["p"] * len(users)} | ({} if users and users[0] is None else {column: users})
    pq.write_table(pa.table(columns), path)
    return DataFile(path)


def test_files_without_common_users_stay_whole_and_are_put_together(tmp_path):
    files = [write(tmp_path, f"{name}.parquet", [name] * 3) for name in "abcde"]
    partitions, users = partition_users(files, "user_id", 1, max_rows=7)
    assert partitions == [
        Partition(tuple(files[:2]), None),
        Partition(tuple(files[2:4]), None),
        Partition(tuple(files[4:]), None),
    ]
    assert users == ("a", "b", "c", "d", "e")


def test_files_with_a_common_user_are_in_one_partition(tmp_path):
    files = [write(tmp_path, f"{i}.parquet", list(users)) for i, users in enumerate(["ab", "c", "bd"])]
    partitions, users = partition_users(files, "user_id", 1, max_rows=4)
    assert partitions == [Partition((files[0], files[2]), None), Partition((files[1],), None)]
    assert users == ("a", "b", "c", "d")


def test_users_of_a_large_file_are_divided(tmp_path):
    file = write(tmp_path, "all.parquet", list("abacbcdddd"))
    partitions, users = partition_users([file], "user_id", 1, max_rows=4)
    assert partitions == [
        Partition((file,), frozenset("ab"), first=True),
        Partition((file,), frozenset("c"), first=False),
        Partition((file,), frozenset("d"), first=False),
    ]
    assert users == ("a", "b", "c", "d")


def test_minimum_number_of_partitions(tmp_path):
    file = write(tmp_path, "all.parquet", [f"u{i}" for i in range(100)])
    assert len(partition_users([file], "user_id", 8)[0]) == 9
    assert len(partition_users([file], "user_id", 1000)[0]) == 100


def test_ids_of_users(tmp_path):
    """As when the files are read: integers become strings, and folders name users."""
    write(tmp_path / "numbers", "1.parquet", [3, 3, 4])
    write(tmp_path / "numbers", "2.parquet", [4.0, 5.0])
    assert partition_users(find_files(tmp_path / "numbers").files, "user_id", 1)[1] == ("3", "4", "5")
    write(tmp_path / "folders", "user_id=a%2Fb/0.parquet", [None, None])
    write(tmp_path / "folders", "user_id=c/0.parquet", [None])
    partitions, users = partition_users(find_files(tmp_path / "folders").files, "user_id", 1, max_rows=2)
    assert users == ("a/b", "c")
    assert [len(partition.files) for partition in partitions] == [1, 1]


def test_damage_within_a_file_is_one_line(tmp_path):
    file = write(tmp_path, "0.parquet", ["a", "b"])
    content = bytearray(file.path.read_bytes())
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    content[4:footer] = b"\xff" * (footer - 4)
    file.path.write_bytes(content)
    with refused(DataError, file=str(file.path)):
        partition_users([file], "user_id", 1)


@pytest.mark.parametrize("users", [["a", None], ["a", " "], [True, False]])
def test_row_without_a_user_is_refused(tmp_path, users):
    file = write(tmp_path, "0.parquet", users)
    with refused(DataError, file=str(file.path), column="user_id"):
        partition_users([file], "user_id", 1)


def test_files_that_are_not_readable_parquet_with_users_are_refused(tmp_path):
    (tmp_path / "0.jsonl").write_text("{}")
    with refused(DataError, "--engine local", file=str(tmp_path / "0.jsonl")):
        partition_users([DataFile(tmp_path / "0.jsonl")], "user_id", 1)
    (tmp_path / "0.parquet").write_text("{}")
    with refused(DataError, file=str(tmp_path / "0.parquet")):
        partition_users([DataFile(tmp_path / "0.parquet")], "user_id", 1)
    with refused(DataError, file=str(tmp_path / "1.parquet")):
        partition_users([DataFile(tmp_path / "1.parquet")], "user_id", 1)
    with refused(DataError, '"prompt", "who"', file=str(tmp_path / "2.parquet"), column="user_id"):
        partition_users([write(tmp_path, "2.parquet", ["a"], column="who")], "user_id", 1)
