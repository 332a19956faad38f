"""JSON with one object per line, and JSON arrays."""

import pytest

from logs import ROWS, write_array, write_lines
from lorerm.data.readers.json_text import FORMAT
from lorerm.errors import DataError
from refusals import refused


def test_byte_order_mark_and_blank_lines(tmp_path):
    path = write_lines(tmp_path / "a.jsonl")
    path.write_text("\n" + path.read_text() + "\n \n", encoding="utf-8-sig")
    rows = list(FORMAT.read(path, "user_id"))
    assert [row.record for row in rows] == ROWS
    assert [row.number for row in rows] == [2, 3], "the numbers of the lines"


@pytest.mark.parametrize("line", ['{"user_id":', "[" * 100_000])
def test_line_that_is_no_json(tmp_path, line):
    path = tmp_path / "a.jsonl"
    path.write_text('{"user_id": "ann"}\n\n' + line)
    with refused(DataError, "JSON", file=str(path), row=3):
        list(FORMAT.read(path, "user_id"))


@pytest.mark.parametrize(("write", "numbers"), [(write_array, [1, 2]), (write_lines, [1, 2])])
def test_array_of_objects_or_one_object_per_line(tmp_path, write, numbers):
    rows = list(FORMAT.read(write(tmp_path / "a.json"), "user_id"))
    assert [row.record for row in rows] == ROWS
    assert [row.number for row in rows] == numbers


@pytest.mark.parametrize(("text", "row"), [("[{]", None), ('{"a": 1}\n{', 2)])
def test_array_or_line_that_is_no_json(tmp_path, text, row):
    path = tmp_path / "a.json"
    path.write_text(text)
    with refused(DataError, "JSON", file=str(path), row=row):
        list(FORMAT.read(path, "user_id"))


@pytest.mark.parametrize("line", ['{"user_id": 1, "chosen": "a", "chosen": "b"}', '{"x": {"chosen": 1, "chosen": 1}}'])
def test_name_that_occurs_twice_is_refused(tmp_path, line):
    """Python's parser would keep the last value without a word."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"user_id": "ann"}\n' + line)
    with refused(DataError, file=str(path), row=2, column="chosen"):
        list(FORMAT.read(path, "user_id"))
