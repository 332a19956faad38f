import pytest

from logs import ROWS, write_lines
from lorerm.data.readers.json_lines import FORMAT
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
