"""No user stands in two shares, and no answer in none."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lorerm.data.readers.folders import DataFile, data_files
from lorerm.errors import DataError
from lorerm.ray.shares import Share, share_out


def write(folder, name, users, column="user_id"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {"prompt": ["p"] * len(users)} | ({} if users and users[0] is None else {column: users})
    pq.write_table(pa.table(columns), path)
    return DataFile(path)


def test_files_of_their_own_users_stay_whole_and_are_packed(tmp_path):
    files = [write(tmp_path, f"{name}.parquet", [name] * 3) for name in "abcde"]
    shares, users = share_out(files, "user_id", 1, most=7)
    assert shares == [Share(tuple(files[:2]), None), Share(tuple(files[2:4]), None), Share(tuple(files[4:]), None)]
    assert users == ("a", "b", "c", "d", "e")


def test_a_user_in_two_files_brings_them_together(tmp_path):
    files = [write(tmp_path, f"{i}.parquet", list(users)) for i, users in enumerate(["ab", "c", "bd"])]
    shares, users = share_out(files, "user_id", 1, most=4)
    assert shares == [Share((files[0], files[2]), None), Share((files[1],), None)]
    assert users == ("a", "b", "c", "d")


def test_users_of_one_large_file_are_divided(tmp_path):
    file = write(tmp_path, "all.parquet", list("abacbcdddd"))
    shares, users = share_out([file], "user_id", 1, most=4)
    assert shares == [
        Share((file,), frozenset("ab"), first=True),
        Share((file,), frozenset("c"), first=False),
        Share((file,), frozenset("d"), first=False),
    ]
    assert users == ("a", "b", "c", "d")


def test_as_many_shares_as_are_asked_for(tmp_path):
    file = write(tmp_path, "all.parquet", [f"u{i}" for i in range(100)])
    assert len(share_out([file], "user_id", 8)[0]) == 9
    assert len(share_out([file], "user_id", 1000)[0]) == 100


def test_users_are_named_as_everywhere(tmp_path):
    """Whole numbers are strings, whatever their type; folders name users too."""
    write(tmp_path / "numbers", "1.parquet", [3, 3, 4])
    write(tmp_path / "numbers", "2.parquet", [4.0, 5.0])
    assert share_out(data_files(tmp_path / "numbers"), "user_id", 1)[1] == ("3", "4", "5")
    write(tmp_path / "folders", "user_id=a%2Fb/0.parquet", [None, None])
    write(tmp_path / "folders", "user_id=c/0.parquet", [None])
    shares, users = share_out(data_files(tmp_path / "folders"), "user_id", 1, most=2)
    assert users == ("a/b", "c")
    assert [len(share.files) for share in shares] == [1, 1]


def test_damage_within_a_file_is_one_line(tmp_path):
    file = write(tmp_path, "0.parquet", ["a", "b"])
    content = bytearray(file.path.read_bytes())
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    content[4:footer] = b"\xff" * (footer - 4)
    file.path.write_bytes(content)
    with pytest.raises(DataError, match=r"0\.parquet cannot be read \(Couldn't deserialize") as raised:
        share_out([file], "user_id", 1)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("users", [["a", None], ["a", " "], [True, False]])
def test_a_row_of_nobody_is_refused(tmp_path, users):
    file = write(tmp_path, "0.parquet", users)
    with pytest.raises(DataError, match=r'0\.parquet: column "user_id" is'):
        share_out([file], "user_id", 1)


def test_files_that_cannot_be_shared_out_are_refused(tmp_path):
    (tmp_path / "0.jsonl").write_text("{}")
    with pytest.raises(DataError, match=r"0\.jsonl is no Parquet file, and --engine ray reads no others"):
        share_out([DataFile(tmp_path / "0.jsonl")], "user_id", 1)
    (tmp_path / "0.parquet").write_text("{}")
    with pytest.raises(DataError, match=r"0\.parquet is not a readable Parquet file"):
        share_out([DataFile(tmp_path / "0.parquet")], "user_id", 1)
    with pytest.raises(DataError, match=r"1\.parquet cannot be read"):
        share_out([DataFile(tmp_path / "1.parquet")], "user_id", 1)
    with pytest.raises(DataError, match=r'2\.parquet: there is no column "user_id" \(columns found: "prompt", "who"\)'):
        share_out([write(tmp_path, "2.parquet", ["a"], column="who")], "user_id", 1)
