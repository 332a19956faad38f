import csv
import json

import pytest

from logs import COLUMNS, ROWS, write_csv
from lorerm.data.preferences import Preferences
from lorerm.data.readers.csv_table import FORMAT
from lorerm.errors import DataError
from refusals import refused


def test_messages_and_choices_in_csv(tmp_path):
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


def test_values_are_texts_and_an_empty_cell_is_missing(tmp_path):
    row = {"user_id": "007", "weight": "0.5", "chosen": "[sic", "rejected": "", "other": " "}
    (read,) = FORMAT.read(write_csv(tmp_path / "a.csv", [row], tuple(row)), "user_id")
    assert read.record == {**row, "rejected": None}


def test_empty_cell_is_no_response(tmp_path):
    """Programs write a missing value and an empty text in the same way, so that nobody can tell which it was."""
    path = write_csv(tmp_path / "a.csv", [ROWS[0], {**ROWS[1], "rejected": ""}])
    with refused(DataError, "CSV", file=str(path), row=2, column="rejected"):
        Preferences.from_files(path)
    written = {
        **ROWS[1],
        "chosen": '[{"role": "assistant", "content": "a"}]',
        "rejected": '[{"role": "assistant", "content": ""}]',
    }
    found = Preferences.from_files(write_csv(tmp_path / "b.csv", [written]))
    assert found.messages("rejected") == [({"role": "assistant", "content": ""},)]


@pytest.mark.parametrize("separator", [";", "\t", ","])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_separator_is_the_one_that_gives_known_columns(tmp_path, separator, name):
    path = tmp_path / name
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS, delimiter=separator)
        writer.writeheader()
        writer.writerows(ROWS)
    assert Preferences.from_files(path) == Preferences.from_records(ROWS)


def test_row_at_the_end_that_may_be_cut_off_has_a_remark(tmp_path):
    path = write_csv(tmp_path / "a.csv")
    assert [row.remark for row in FORMAT.read(path, "user_id")] == [None, None]
    path.write_bytes(path.read_bytes().removesuffix(b",val\r\n") + b",v")
    first, last = FORMAT.read(path, "user_id")
    assert first.remark is None
    assert last.remark
    path.write_bytes(path.read_bytes() + b"al")
    assert any(last.remark in sentence for sentence in Preferences.from_files(path).summary.warnings())


def test_second_column_of_a_name_is_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("user_id,prompt,chosen,rejected,chosen,note,note\nann,q,a,b,c,d,e\n")
    with refused(DataError, file=str(path), column="chosen"):
        Preferences.from_files(path)
    path.write_text("user_id,prompt,chosen,rejected,note,note\nann,q,a,b,d,e\n")
    assert len(Preferences.from_files(path)) == 1


def test_long_values(tmp_path):
    long = "word " * 100_000
    path = write_csv(tmp_path / "a.csv", [{**ROWS[0], "chosen": long}])
    limit = csv.field_size_limit()
    assert Preferences.from_files(path).messages("chosen")[0][0]["content"] == long
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize(
    ("content", "row", "named"),
    [
        ("user_id,prompt\nann,q\nann,q,more\n", 2, ["3", "2"]),
        ('user_id,prompt\nann,"q"x\n', None, ["CSV"]),
    ],
)
def test_bad_file_is_named(tmp_path, content, row, named):
    path = tmp_path / "a.csv"
    path.write_text(content)
    with refused(DataError, *named, file=str(path), row=row):
        list(FORMAT.read(path, "user_id"))


def test_unknown_separator_shows_in_the_columns_found(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("user_id|prompt\nann|q\n")
    with refused(DataError, '"user_id|prompt"', file=str(path), row=1, column="user_id"):
        Preferences.from_files(path)
