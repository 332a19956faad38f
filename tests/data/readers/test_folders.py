"""Which files of an input are read, in which order, and the columns that the names of folders give."""

from __future__ import annotations

from logs import write_lines
from lorerm.data.preferences import Preferences
from lorerm.data.readers.folders import DataFile, data_files
from lorerm.errors import DataError
from refusals import refused

ROWS = [
    {"user_id": "ann", "prompt_id": "p1", "prompt": "Tea?", "chosen": "Yes", "rejected": "No"},
    {"user_id": "bob", "prompt_id": "p2", "prompt": "Sea?", "chosen": "Yes", "rejected": "No", "split": "test"},
]


def test_input_is_a_file_or_the_files_of_a_folder(tmp_path):
    for name in ("b.parquet", "a.JSONL.gz", ".hidden.csv", "notes.txt", "year=2024/c.csv"):
        write_lines(tmp_path / name, ROWS)
    assert data_files(tmp_path / "notes.txt") == [DataFile(tmp_path / "notes.txt")]
    assert [file.path.name for file in data_files(tmp_path)] == ["a.JSONL.gz", "b.parquet"]


def test_partitions_are_read_in_the_order_of_their_names(tmp_path):
    for name in ("b=2/1.csv", "a=1/c=%3D/2.csv", "a=1/c=%3D/1.csv", "a=1/0.csv", "notes/3.csv", "=x/4.csv"):
        write_lines(tmp_path / name, ROWS)
    assert [(file.path.name, dict(file.values)) for file in data_files(tmp_path)] == [
        ("0.csv", {"a": "1"}),
        ("1.csv", {"a": "1", "c": "="}),
        ("2.csv", {"a": "1", "c": "="}),
        ("1.csv", {"b": "2"}),
    ]


def test_folder_names_give_columns(tmp_path):
    """As Spark, Hive and pyarrow partition data: the column is in no file, special characters are escaped."""
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


def test_partition_without_a_user_is_refused_as_a_null_is(tmp_path):
    folder = tmp_path / "logs" / "user_id=__HIVE_DEFAULT_PARTITION__"
    folder.mkdir(parents=True)
    write_lines(folder / "1.jsonl", [{key: ROWS[0][key] for key in ROWS[0] if key != "user_id"}])
    with refused(DataError, file=str(folder / "1.jsonl"), row=1, column="user_id"):
        Preferences.from_files(tmp_path / "logs")


def test_folder_without_a_readable_file_is_refused(tmp_path):
    (tmp_path / "user_id=ann").mkdir()
    with refused(DataError, ".jsonl", file=str(tmp_path)):
        data_files(tmp_path)


def test_folder_that_a_format_stores_as_a_whole_is_one_file(tmp_path):
    (tmp_path / "state.json").write_text("{}")
    write_lines(tmp_path / "1.jsonl", ROWS)
    assert data_files(tmp_path) == [DataFile(tmp_path)]
