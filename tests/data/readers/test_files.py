import csv
import gzip
import json

import pytest

from lorerm.data.preferences import Preferences
from lorerm.errors import DataError

ROWS = [
    {"user_id": "ann", "prompt_id": "p1", "prompt": "Tea?", "chosen": "Yes,\nplease", "rejected": 'No "way"'},
    {"user_id": "bob", "prompt_id": "p2", "prompt": "Täglich?", "chosen": "[sic]", "rejected": "", "split": "val"},
]
WANTED = Preferences.from_records(ROWS)


def write_lines(path, rows=ROWS):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_csv(path, rows=ROWS, columns=("user_id", "prompt_id", "prompt", "chosen", "rejected", "split")):
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_parquet(path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist([{**row, "split": row.get("split"), "noise": 1.5} for row in ROWS]), path)
    return path


def write_array(path):
    path.write_text(json.dumps(ROWS, indent=1))
    return path


def write_gzip(path):
    path.write_bytes(gzip.compress(write_lines(path.with_suffix("")).read_bytes()))
    return path


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.jsonl", write_lines),
        ("a.JSONL", write_lines),
        ("a.jsonl.gz", write_gzip),
        ("lines.json", write_lines),
        ("array.json", write_array),
        ("a.csv", write_csv),
        ("a.parquet", write_parquet),
    ],
)
def test_every_format_says_the_same(tmp_path, name, write):
    assert Preferences.from_files(write(tmp_path / name)) == WANTED


def test_byte_order_mark_and_blank_lines(tmp_path):
    path = write_lines(tmp_path / "a.jsonl")
    path.write_text("\n" + path.read_text() + "\n \n", encoding="utf-8-sig")
    assert Preferences.from_files(path) == WANTED


def test_several_files_and_folders_in_their_order(tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    write_lines(folder / "2.jsonl", ROWS[1:])
    write_lines(folder / "1.jsonl", ROWS[:1])
    (folder / "notes.txt").write_text("not read")
    extra = write_lines(tmp_path / "extra.jsonl", ROWS[:1])
    assert Preferences.from_files(folder) == WANTED
    assert Preferences.from_files(folder, extra).user_ids.tolist() == ["ann", "bob", "ann"]


def test_messages_and_judgements_in_csv(tmp_path):
    row = {
        "user_id": 7,
        "prompt": json.dumps([{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]),
        "responses": json.dumps(["a", "b", "c"]),
        "choice": "1",
        "weight": "",
    }
    preferences = Preferences.from_files(write_csv(tmp_path / "a.csv", [row], columns=tuple(row)))
    assert preferences.user_ids.tolist() == ["7", "7"]
    assert preferences.weights.tolist() == [0.5, 0.5]
    assert [message["role"] for message in preferences.messages("prompt")[0]] == ["system", "user"]


def test_long_cells_of_csv(tmp_path):
    long = "word " * 100_000
    path = write_csv(tmp_path / "a.csv", [{**ROWS[0], "chosen": long}])
    limit = csv.field_size_limit()
    assert Preferences.from_files(path).messages("chosen")[0][0]["content"] == long
    assert csv.field_size_limit() == limit


def test_column_of_users_by_another_name(tmp_path):
    rows = [{"worker": row["user_id"], **row, "user_id": None} for row in ROWS]
    assert Preferences.from_files(write_lines(tmp_path / "a.jsonl", rows), user_column="worker") == WANTED


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json", "array.json", "a.csv", "header.csv", "a.parquet"])
def test_no_rows(tmp_path, name):
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
    with pytest.raises(DataError, match=f"{name} holds no rows: give a file"):
        Preferences.from_files(path)


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a.jsonl", b'{"user_id": "ann"}\n\n{"user_id":', "a.jsonl, row 1: there is no column"),
        ("a.jsonl", b'\n\n{"user_id":', "a.jsonl, row 3 is not JSON"),
        ("a.jsonl", b"[1]\n", "a.jsonl, row 1: the row is a list"),
        ("a.jsonl", b'{"user_id": "\xff"}', "is not UTF-8 text"),
        ("a.jsonl.gz", b"plain", "is cut off or damaged"),
        ("a.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 999, mtime=0)[:-9], "is cut off or damaged|no column"),
        ("a.json", b"[{]", "a.json is not JSON"),
        ("a.csv", b"user_id,prompt\nann,q,more\n", "row 1 has 3 cells under a header of 2: quote"),
        ("a.csv", b'user_id,prompt\nann,"q"x\n', "is not CSV"),
        ("a.csv", b"user_id;prompt\nann;q\n", 'no column "user_id" .columns found: "user_id;prompt"'),
        ("a.parquet", b"PAR1", "is not a readable Parquet file"),
        ("a.txt", b"x", "unknown format: give a file ending in .jsonl"),
    ],
)
def test_bad_files_are_named(tmp_path, name, content, match):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=match) as caught:
        Preferences.from_files(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_missing_column_of_parquet_lists_all(tmp_path):
    with pytest.raises(DataError, match=r'no column "worker".*"noise"'):
        Preferences.from_files(write_parquet(tmp_path / "a.parquet"), user_column="worker")


def test_missing_paths(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.jsonl does not exist"):
        Preferences.from_files(tmp_path / "nowhere.jsonl")
    with pytest.raises(DataError, match="no file was given"):
        Preferences.from_files()
    with pytest.raises(DataError, match="holds neither"):
        Preferences.from_files(tmp_path)


def test_saved_data_set(tmp_path):
    WANTED.to_trl().save_to_disk(tmp_path / "saved")
    assert Preferences.from_files(tmp_path / "saved") == WANTED


def test_damaged_data_set(tmp_path):
    WANTED.to_trl().save_to_disk(tmp_path / "saved")
    next((tmp_path / "saved").glob("*.arrow")).write_bytes(b"rubbish")
    with pytest.raises(DataError, match="saved"):
        Preferences.from_files(tmp_path / "saved")


def test_names_of_a_dictionary_s_splits_become_labels(tmp_path):
    from datasets import Dataset, DatasetDict

    part = Dataset.from_list([ROWS[0]])
    parts = DatasetDict(train=part, validation=part, test=part)
    parts.save_to_disk(tmp_path / "saved")
    for preferences in (Preferences.from_dataset(parts), Preferences.from_files(tmp_path / "saved")):
        assert preferences.splits.tolist() == ["train", "test", "test"]
    assert Preferences.from_dataset(DatasetDict(train=part)).splits.tolist() == [None]
    with pytest.raises(DataError, match="has a split 'more'"):
        Preferences.from_dataset(DatasetDict(train=part, more=part))


def test_data_set_in_another_format_or_none():
    assert Preferences.from_dataset(WANTED.to_trl().with_format("numpy")) == WANTED
    with pytest.raises(DataError, match=r"is a list, not a datasets\.Dataset"):
        Preferences.from_dataset(ROWS)
