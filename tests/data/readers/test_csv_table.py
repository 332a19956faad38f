import csv
import json

import pytest

from logs import ROWS, write_csv
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


@pytest.mark.parametrize(
    ("column", "text", "value"),
    [
        ("user_id", "007", "007"),
        ("weight", "0.5", 0.5),
        ("weight", "many", "many"),
        ("ratings", "[1, 2.5]", [1, 2.5]),
        ("ratings", "", None),
        ("chosen", '["no message"]', '["no message"]'),
        ("chosen", "[sic", "[sic"),
    ],
)
def test_type_of_a_value_is_that_of_its_column(tmp_path, column, text, value):
    (row,) = FORMAT.read(write_csv(tmp_path / "a.csv", [{column: text, "other": "x"}], (column, "other")), "user_id")
    assert row.record == {column: value, "other": "x"}


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


def test_other_separator_shows_in_the_columns_found(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("user_id;prompt\nann;q\n")
    with refused(DataError, '"user_id;prompt"', file=str(path), row=1, column="user_id"):
        Preferences.from_files(path)
