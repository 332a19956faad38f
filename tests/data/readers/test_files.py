"""Which files of an input are read, in which order, and the rows of files and folders of every format."""

import gzip

import pytest

from logs import ROWS, compress, write_array, write_csv, write_lines, write_parquet
from lorerm.data.preferences import Preferences
from lorerm.data.readers.files import DataFile, find_files
from lorerm.errors import DataError
from refusals import refused

WANTED = Preferences.from_records(ROWS)
FLAT_ROWS = [
    {"user_id": "ann", "prompt_id": "p1", "prompt": "Tea?", "chosen": "Yes", "rejected": "No"},
    {"user_id": "bob", "prompt_id": "p2", "prompt": "Sea?", "chosen": "Yes", "rejected": "No", "split": "test"},
]


@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2", ".xz", ".zst"])
@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.jsonl", write_lines),
        ("a.ndjson", write_lines),
        ("a.JSONL", write_lines),
        ("lines.json", write_lines),
        ("array.json", write_array),
        ("a.csv", write_csv),
        ("a.parquet", write_parquet),
    ],
)
def test_every_format_gives_the_same_comparisons(tmp_path, name, write, suffix):
    path = write(tmp_path / name)
    assert Preferences.from_files(compress(path, suffix) if suffix else path) == WANTED


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
@pytest.mark.parametrize("cut", [-1, -9, 9])
def test_compressed_file_that_was_cut_off(tmp_path, suffix, cut):
    path = compress(write_lines(tmp_path / "a.jsonl"), suffix)
    path.write_bytes(path.read_bytes()[:cut])
    with refused(DataError, file=str(path), row=None):
        Preferences.from_files(path)


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


def test_input_is_a_file_or_the_files_of_a_folder_and_its_subfolders(tmp_path):
    for name in ("b.parquet", "a.JSONL.gz", ".hidden.csv", "notes.txt", "year=2024/c.csv", "_log/d.jsonl", "sub/e.zip"):
        write_lines(tmp_path / name, FLAT_ROWS)
    (tmp_path / "_SUCCESS").touch()
    assert find_files(tmp_path / "notes.txt").files == (DataFile(tmp_path / "notes.txt"),)
    found = find_files(tmp_path)
    assert [(file.path.name, dict(file.values)) for file in found.files] == [
        ("a.JSONL.gz", {}),
        ("b.parquet", {}),
        ("c.csv", {"year": "2024"}),
    ]
    assert [path.name for path in found.unread] == ["notes.txt", "d.jsonl", "e.zip"]


def test_files_that_were_not_read_are_named(tmp_path):
    write_lines(tmp_path / "logs" / "1.jsonl")
    (tmp_path / "logs" / "part.7z").write_text("x")
    (sentence,) = Preferences.from_files(tmp_path / "logs").summary.warnings()
    assert str(tmp_path / "logs" / "part.7z") in sentence
    assert ": 1 (" in sentence


@pytest.mark.parametrize("folder", ["2024-05", "user_id=u7", "2024/05"])
def test_subfolders_are_read_beside_files(tmp_path, folder):
    """Also where some files are in folders that give a column and one file is not."""
    write_lines(tmp_path / "logs" / "1.jsonl", FLAT_ROWS[:1])
    rows = [{key: value for key, value in FLAT_ROWS[1].items() if key != "user_id" or "=" not in folder}]
    write_lines(tmp_path / "logs" / folder / "2.ndjson", rows)
    assert Preferences.from_files(tmp_path / "logs").user_ids.tolist() == ["ann", "u7" if "=" in folder else "bob"]


def test_folder_that_contains_a_link_to_itself_is_read_once(tmp_path):
    write_lines(tmp_path / "logs" / "1.jsonl")
    (tmp_path / "logs" / "again").symlink_to(tmp_path / "logs")
    assert Preferences.from_files(tmp_path / "logs") == WANTED


def test_partitions_are_read_in_the_order_of_their_names(tmp_path):
    for name in ("b=2/1.csv", "a=1/c=%3D/2.csv", "a=1/c=%3D/1.csv", "a=1/0.csv", "=x/4.csv"):
        write_lines(tmp_path / name, FLAT_ROWS)
    assert [(file.path.name, dict(file.values)) for file in find_files(tmp_path).files] == [
        ("4.csv", {}),
        ("0.csv", {"a": "1"}),
        ("1.csv", {"a": "1", "c": "="}),
        ("2.csv", {"a": "1", "c": "="}),
        ("1.csv", {"b": "2"}),
    ]


def test_folder_name_and_column_must_agree(tmp_path):
    path = write_lines(tmp_path / "user_id=ann" / "1.jsonl", FLAT_ROWS)
    with refused(DataError, file=str(path), row=2, column="user_id"):
        Preferences.from_files(tmp_path)


def test_folder_names_give_columns(tmp_path):
    """As Spark, Hive and pyarrow partition data: the column is in no file, special characters are escaped."""
    for name, rows in (("user_id=bob%20b/split=test/2.jsonl", FLAT_ROWS[1:]), ("user_id=ann/1.jsonl", FLAT_ROWS[:1])):
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
    write_lines(folder / "1.jsonl", [{key: FLAT_ROWS[0][key] for key in FLAT_ROWS[0] if key != "user_id"}])
    with refused(DataError, file=str(folder / "1.jsonl"), row=1, column="user_id"):
        Preferences.from_files(tmp_path / "logs")


def test_folder_without_a_readable_file_is_refused(tmp_path):
    (tmp_path / "user_id=ann").mkdir()
    with refused(DataError, ".jsonl", file=str(tmp_path)):
        find_files(tmp_path)


def test_folder_that_a_format_stores_as_a_whole_is_one_file(tmp_path):
    (tmp_path / "state.json").write_text("{}")
    write_lines(tmp_path / "1.jsonl", FLAT_ROWS)
    assert find_files(tmp_path).files == (DataFile(tmp_path),)
