"""Rows of files and folders, whatever their format."""

import gzip

import pytest

from logs import ROWS, compress, write_array, write_csv, write_lines, write_parquet
from lorerm.data.preferences import Preferences
from lorerm.errors import DataError
from refusals import refused

WANTED = Preferences.from_records(ROWS)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.jsonl", write_lines),
        ("a.JSONL", write_lines),
        ("lines.json", write_lines),
        ("array.json", write_array),
        ("a.csv", write_csv),
        ("a.parquet", write_parquet),
    ],
)
def test_every_format_gives_the_same_comparisons(tmp_path, name, write, zipped):
    path = write(tmp_path / name)
    assert Preferences.from_files(compress(path) if zipped else path) == WANTED


def test_several_files_and_folders_in_their_order(tmp_path):
    folder = tmp_path / "logs"
    write_lines(folder / "2.jsonl", ROWS[1:])
    write_lines(folder / "1.jsonl", ROWS[:1])
    (folder / "notes.txt").write_text("not read")
    extra = write_lines(tmp_path / "extra.jsonl", ROWS[:1])
    assert Preferences.from_files(folder) == WANTED
    assert Preferences.from_files(folder, extra).user_ids.tolist() == ["ann", "bob", "ann"]


def test_user_column_by_another_name(tmp_path):
    rows = [{"worker": row["user_id"], **row, "user_id": None} for row in ROWS]
    assert Preferences.from_files(write_lines(tmp_path / "a.jsonl", rows), user_column="worker") == WANTED


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json", "array.json", "a.csv", "header.csv", "a.parquet"])
def test_file_without_rows(tmp_path, name):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / name
    if name.endswith(".parquet"):
        pq.write_table(pa.table({"user_id": pa.array([], pa.string())}), path)
    elif name == "header.csv":
        write_csv(path, [])
    else:
        content = b"[]" if name == "array.json" else b""
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    with refused(DataError, "no rows", file=str(path), row=None):
        Preferences.from_files(path)


@pytest.mark.parametrize(
    ("name", "content", "place", "named"),
    [
        ("a.jsonl", b'{"user_id": "ann"}\n\n{"user_id":', {"row": 1, "column": "prompt"}, "user_id"),
        ("a.jsonl", b"[1]\n", {"row": 1}, "list"),
        ("a.jsonl", b'{"user_id": "\xff"}', {"row": None}, "UTF-8"),
        ("a.jsonl.gz", b"plain", {"row": None}, "gzip"),
        ("a.jsonl.gz", gzip.compress(b"x" * 9999, mtime=0)[:-20], {"row": None}, "end-of-stream"),
        ("a.txt", b"x", {"row": None}, ".jsonl"),
    ],
)
def test_bad_file_is_named(tmp_path, name, content, place, named):
    path = tmp_path / name
    path.write_bytes(content)
    with refused(DataError, named, file=str(path), **place):
        Preferences.from_files(path)


def test_missing_paths(tmp_path):
    with refused(DataError, file=str(tmp_path / "nowhere.jsonl")):
        Preferences.from_files(tmp_path / "nowhere.jsonl")
    with refused(DataError, file=None):
        Preferences.from_files()
    with refused(DataError, ".csv", file=str(tmp_path)):
        Preferences.from_files(tmp_path)
