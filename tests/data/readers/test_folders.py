"""Which files are read, in which order, and what the names of folders say of their rows."""

from __future__ import annotations

import json

import pytest

from lorerm.data.preferences import Preferences
from lorerm.data.readers.folders import DataFile, data_files
from lorerm.errors import DataError

ROWS = [
    {"user_id": "ann", "prompt_id": "p1", "prompt": "Tea?", "chosen": "Yes", "rejected": "No"},
    {"user_id": "bob", "prompt_id": "p2", "prompt": "Sea?", "chosen": "Yes", "rejected": "No", "split": "test"},
]


def write_lines(path, rows=ROWS):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_file_is_itself_and_a_folder_its_own_files(tmp_path):
    for name in ("b.parquet", "a.JSONL.gz", ".hidden.csv", "notes.txt", "year=2024/c.csv"):
        write_lines(tmp_path / name)
    assert data_files(tmp_path / "notes.txt") == [DataFile(tmp_path / "notes.txt")]
    assert [file.path.name for file in data_files(tmp_path)] == ["a.JSONL.gz", "b.parquet"]


def test_folders_in_folders_are_gone_through_in_the_order_of_their_names(tmp_path):
    for name in ("b=2/1.csv", "a=1/c=%3D/2.csv", "a=1/c=%3D/1.csv", "a=1/0.csv", "notes/3.csv", "=x/4.csv"):
        write_lines(tmp_path / name)
    assert [(file.path.name, dict(file.values)) for file in data_files(tmp_path)] == [
        ("0.csv", {"a": "1"}),
        ("1.csv", {"a": "1", "c": "="}),
        ("2.csv", {"a": "1", "c": "="}),
        ("1.csv", {"b": "2"}),
    ]


def test_folders_that_name_a_column_and_its_value(tmp_path):
    """As Spark, Hive and pyarrow partition data: the column is in no file, odd letters are escaped."""
    for name, rows in (("user_id=bob%20b/split=test/2.jsonl", ROWS[1:]), ("user_id=ann/1.jsonl", ROWS[:1])):
        path = tmp_path / "logs" / name
        path.parent.mkdir(parents=True)
        write_lines(path, [{key: row[key] for key in row if key not in ("user_id", "split")} for row in rows])
    (tmp_path / "logs" / "_SUCCESS").touch()
    (tmp_path / "logs" / "notes").mkdir()
    read = Preferences.from_files(tmp_path / "logs")
    assert read.user_ids.tolist() == ["ann", "bob b"]
    assert read.splits.tolist() == [None, "test"]
    assert read.prompt_ids.tolist() == ["p1", "p2"]


def test_a_partition_of_nobody_is_refused_as_an_empty_cell_is(tmp_path):
    folder = tmp_path / "logs" / "user_id=__HIVE_DEFAULT_PARTITION__"
    folder.mkdir(parents=True)
    write_lines(folder / "1.jsonl", [{key: ROWS[0][key] for key in ROWS[0] if key != "user_id"}])
    with pytest.raises(DataError, match=r'1\.jsonl, row 1: column "user_id" is empty'):
        Preferences.from_files(tmp_path / "logs")


def test_a_folder_with_nothing_to_read_is_refused(tmp_path):
    (tmp_path / "user_id=ann").mkdir()
    with pytest.raises(DataError, match="holds neither a saved data set nor a file ending in"):
        data_files(tmp_path)
