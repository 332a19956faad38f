import pyarrow as pa
import pyarrow.parquet as pq

from logs import ROWS, write_parquet
from lorerm.data.preferences import Preferences
from lorerm.data.readers.parquet import FORMAT
from lorerm.errors import DataError
from refusals import refused


def test_only_columns_of_the_contract_are_read(tmp_path):
    """The file also has the column "noise"."""
    rows = list(FORMAT.read(write_parquet(tmp_path / "a.parquet"), "user_id"))
    assert [row.record for row in rows] == [{**row, "split": row.get("split")} for row in ROWS]
    assert [row.number for row in rows] == [1, 2]


def test_rows_are_numbered_through_batches(tmp_path, monkeypatch):
    monkeypatch.setattr("lorerm.data.readers.parquet.BATCH", 2)
    pq.write_table(pa.table({"user_id": ["a", "b", "c"]}), tmp_path / "a.parquet")
    assert [row.number for row in FORMAT.read(tmp_path / "a.parquet", "user_id")] == [1, 2, 3]


def test_all_columns_are_listed_where_one_is_missing(tmp_path):
    path = write_parquet(tmp_path / "a.parquet")
    with refused(DataError, '"noise"', file=str(path), row=1, column="worker"):
        Preferences.from_files(path, user_column="worker")


def test_damaged_file(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1")
    with refused(DataError, "Parquet", file=str(path)):
        Preferences.from_files(path)


def test_columns_that_look_like_feedback_are_read_and_counted(tmp_path):
    pq.write_table(pa.Table.from_pylist([{**row, "margin": 1.5, "noise": 2} for row in ROWS]), tmp_path / "a.parquet")
    assert "noise" not in next(FORMAT.read(tmp_path / "a.parquet", "user_id")).record
    (sentence,) = Preferences.from_files(tmp_path / "a.parquet").summary.warnings()
    assert '"margin" (2)' in sentence


def test_second_column_of_a_name_is_refused(tmp_path):
    table = pa.Table.from_pylist(ROWS)
    pq.write_table(table.append_column("chosen", table["rejected"]), tmp_path / "a.parquet")
    with refused(DataError, file=str(tmp_path / "a.parquet"), column="chosen"):
        Preferences.from_files(tmp_path / "a.parquet")
