"""Comparisons between the rows of a matrix, from every log format."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lorerm.data.comparisons import UnorderedPairs
from lorerm.embedding.external.comparisons import read_comparisons
from lorerm.errors import DataError
from refusals import refused
from small_choices import comparisons, write_lines


def csv_text(rows):
    return ",".join(rows[0]) + "\n" + "".join(",".join(map(str, row.values())) + "\n" for row in rows)


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "csv", "csv.gz", "parquet", "json"])
def test_every_format_gives_the_same(tmp_path, suffix):
    rows = comparisons()
    path = tmp_path / f"t.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        text = {"csv": csv_text(rows), "json": json.dumps(rows)}.get(suffix.removesuffix(".gz"), lines)
        path.write_bytes(gzip.compress(text.encode()) if suffix.endswith(".gz") else text.encode())
    read = read_comparisons(path)
    assert list(read.user_ids) == [row["user_id"] for row in rows], "007 stays 007"
    np.testing.assert_array_equal(read.chosen, [row["chosen"] for row in rows])
    np.testing.assert_array_equal(read.rejected, [row["rejected"] for row in rows])
    assert read.chosen.dtype == np.int64
    assert isinstance(read.prompt_ids, UnorderedPairs)
    assert read.splits is None
    np.testing.assert_array_equal(read.weights, 1.0)


def test_ids_are_not_taken_for_numbers_or_dates(tmp_path):
    users = ["007", "7", "2020-01-01", "1e5", "true", "null", " a "]
    rows = [{"user_id": user, "chosen": 0, "rejected": 1, "prompt_id": user} for user in users]
    (tmp_path / "t.csv").write_text(csv_text(rows))
    write_lines(tmp_path / "t.jsonl", rows)
    for name in ("t.csv", "t.jsonl"):
        read = read_comparisons(tmp_path / name)
        assert list(read.user_ids) == list(read.prompt_ids) == users


def test_whole_numbers_are_ids_too(tmp_path):
    """A table of pandas with gaps elsewhere holds them as floats."""
    table = pa.table({"user_id": [1.0, 2.0], "chosen": [0.0, 1.0], "rejected": [1.0, 0.0], "prompt_id": [5, 6]})
    pq.write_table(table, tmp_path / "t.parquet")
    read = read_comparisons(tmp_path / "t.parquet")
    assert list(read.user_ids) == ["1", "2"]
    assert list(read.prompt_ids) == ["5", "6"]
    np.testing.assert_array_equal(read.chosen, [0, 1])


def test_weights_and_splits(tmp_path):
    rows = [{**row, "weight": 0.5, "split": "train" if i % 3 else "validation"} for i, row in enumerate(comparisons())]
    (tmp_path / "t.csv").write_text(csv_text(rows))
    read = read_comparisons(tmp_path / "t.csv")
    np.testing.assert_array_equal(read.weights, 0.5)
    assert list(read.splits[:3]) == ["test", "train", "train"]


@pytest.mark.parametrize("value", ["", "1.5", "NaN", "one"])
def test_csv_value_that_is_no_row_number(tmp_path, value):
    path = tmp_path / "t.csv"
    path.write_text(f"user_id,chosen,rejected\nu,0,1\nu,{value},1\n")
    with refused(DataError, file=str(path), row=2, column="chosen"):
        read_comparisons(path)


@pytest.mark.parametrize("value", [None, float("nan"), 0.5, True, [0], "x", 2**70, -(2**70)])
def test_value_that_is_no_row_number(tmp_path, value):
    path = write_lines(tmp_path / "t.jsonl", [{"user_id": "u", "chosen": 0, "rejected": value}])
    with refused(DataError, file=str(path), row=1, column="rejected"):
        read_comparisons(path)


@pytest.mark.parametrize("value", [None, "", " ", 1.5, [1], {"a": 1}, "\ud800"])
@pytest.mark.parametrize("column", ["user_id", "prompt_id"])
def test_value_that_is_no_id(tmp_path, column, value):
    row = {"user_id": "u", "prompt_id": "p", "chosen": 0, "rejected": 1, column: value}
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(row))  # as ASCII, since a lone surrogate cannot be written as UTF-8
    with refused(DataError, file=str(path), row=1, column=column):
        read_comparisons(path)


@pytest.mark.parametrize("column", ["user_id", "chosen", "rejected"])
def test_missing_column_is_named_with_those_found(tmp_path, column):
    row = {"user_id": "u", "chosen": 0, "rejected": 1}
    del row[column]
    path = write_lines(tmp_path / "t.jsonl", [row])
    with refused(DataError, *row, file=str(path), row=1, column=column):
        read_comparisons(path)


def test_prompt_id_in_some_rows_only(tmp_path):
    rows = comparisons()
    path = write_lines(tmp_path / "t.jsonl", [{**rows[0], "prompt_id": "p"}, *rows[1:]])
    with refused(DataError, "89", file=str(path), column="prompt_id"):
        read_comparisons(path)


def test_row_that_is_no_object(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text("[1, 2]\n")
    with refused(DataError, "list", file=str(path), row=1):
        read_comparisons(path)


@pytest.mark.parametrize(
    ("name", "content"), [("t.csv", b""), ("t.parquet", b"PAR1"), ("t.jsonl.gz", b"x"), ("t.xlsx", b"x")]
)
def test_file_that_cannot_be_read(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with refused(DataError, str(tmp_path / name)):
        read_comparisons(tmp_path / name)
