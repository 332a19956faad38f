"""Ids of users and prompts: one rule for every type of value, whichever function reads it."""

from __future__ import annotations

import json
import math
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from datasets import Dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lorerm import EmbeddedPreferences, Preferences
from lorerm.data.ids import (
    as_id,
    as_id_column,
    as_ids,
    check_known,
    look_alike_warnings,
    look_alikes,
    nearest,
    parse_id,
    parse_text_id,
    require_id,
)
from lorerm.errors import DataError, UnknownUserError
from refusals import refused


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("007", "007"),
        (" x", " x"),
        ("é", "é"),
        ("1.0", "1.0"),
        (np.str_("u"), "u"),
        (7, "7"),
        (-7, "-7"),
        (7.0, "7"),
        (-0.0, "0"),
        (2.0**53 - 1, "9007199254740991"),
        (np.float32(2**24 - 1), "16777215"),
        (10**30, str(10**30)),
        (Decimal("7.00"), "7"),
        (Decimal(10**30), str(10**30)),
        (pa.scalar(2**63, pa.uint64()), str(2**63)),
        (pa.scalar(7, pa.float32()), "7"),
        (pa.scalar("u", pa.large_string()), "u"),
        (torch.tensor(7), "7"),
        (np.array(7.0), "7"),
    ],
)
def test_strings_stay_and_whole_numbers_become_digits(value, expected):
    found = [parse_id(value, "user_id"), require_id(value, "user_id"), as_id(value), *as_ids([value])]
    assert found == [*as_id_column([value], "user_ids"), *[expected] * 3]
    assert {type(one) for one in found} == {str}


@given(st.integers(-(2**63), 2**64 - 1))
def test_a_whole_number_has_one_id_whatever_its_type(number):
    kinds = [int, str, Decimal, pa.scalar] if number >= -(2**63) and number < 2**63 else [int, str, Decimal, np.uint64]
    integers = (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64)
    kinds += [kind for kind in integers if np.iinfo(kind).min <= number <= np.iinfo(kind).max]
    floats = {float: 53, np.float64: 53, np.float32: 24, np.float16: 11}
    kinds += [kind for kind, bits in floats.items() if abs(number) < 2**bits]
    assert {as_id(kind(number)) for kind in kinds} == {str(number)}


@given(st.floats(allow_nan=False))
def test_a_float_is_an_id_only_if_it_is_exact(number):
    if number.is_integer() and abs(number) < 2**53:
        assert as_id(number) == str(int(number))
    else:
        with refused(DataError, argument="user_id"):
            as_id(number)


@pytest.mark.parametrize(("kind", "bits"), [(float, 53), (np.float64, 53), (np.float32, 24), (np.float16, 11)])
def test_a_float_to_which_several_ids_are_rounded_is_refused(kind, bits):
    assert kind(2**bits) == kind(2**bits + 1)
    for value in (kind(2**bits + 1), -kind(2**bits), kind(2**bits) * 2):
        with refused(DataError, f"2**{bits}", column="user_id"):
            parse_id(value, "user_id")


MISSING = [None, "", " ", "\n", math.nan, np.float32("nan"), pd.NA, pd.NaT, np.ma.masked, pa.scalar(None, pa.int64())]


@pytest.mark.parametrize("value", MISSING, ids=repr)
def test_absent_id(value):
    assert parse_id(value, "prompt_id") is None
    with refused(DataError, column="prompt_id"):
        require_id(value, "prompt_id")
    with refused(DataError, argument="user_id"):
        as_id(value)
    with refused(DataError, "user_ids[1]", argument="user_ids"):
        as_ids(["u", value])
    with refused(DataError, "user_ids[1]", argument="user_ids"):
        as_id_column(["u", value], "user_ids")


WRONG = [True, np.bool_(False), 1.5, np.float32(0.5), Decimal("1.5"), Decimal("nan"), math.inf, -math.inf, b"a", ["a"]]
WRONG += [{"a": 1}, ("a", 1), "\ud800", np.datetime64("2026-01-01"), pd.Timestamp("2026-01-01"), torch.tensor(1.5), 1j]


@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_other_values_are_no_id(value):
    for read in (parse_id, require_id):
        with refused(DataError, column="worker"):
            read(value, "worker")
    with refused(DataError, argument="who"):
        as_id(value, "who")
    with refused(DataError, "who[1]", argument="who"):
        as_ids([1, value], "who")
    with refused(DataError, "who[1]", argument="who"):
        as_id_column([1, value], "who")


def test_text_in_place_of_an_id_is_not_repeated():
    with refused(DataError, column="user_id") as caught:
        parse_id(["a secret"], "user_id")
    assert "secret" not in str(caught.value)


COLUMNS = {
    "list": list,
    "tuple": tuple,
    "NumPy": np.asarray,
    "NumPy float": lambda ids: np.array(ids, dtype=np.float64),
    "NumPy objects": lambda ids: np.array(ids, dtype=object),
    "NumPy strings": lambda ids: np.array([str(one) for one in ids]),
    "pandas": pd.Series,
    "pandas Int64": lambda ids: pd.Series(ids, dtype="Int64"),
    "pandas float": lambda ids: pd.Series(ids, dtype="float64"),
    "pandas strings": lambda ids: pd.Series([str(one) for one in ids], dtype="string"),
    "pandas categories": lambda ids: pd.Series(ids, dtype="category"),
    "pandas array": lambda ids: pd.array(ids, dtype="Int32"),
    "Arrow": pa.array,
    "Arrow in chunks": lambda ids: pa.chunked_array([ids[:1], ids[1:]]),
    "Arrow float": lambda ids: pa.array(ids, pa.float64()),
    "Arrow decimals": lambda ids: pa.array([Decimal(one) for one in ids], pa.decimal128(38, 0)),
    "Arrow dictionary": lambda ids: pa.array(ids).dictionary_encode(),
    "Arrow views": lambda ids: pa.array([str(one) for one in ids], pa.string_view()),
    "torch": torch.tensor,
}


@pytest.mark.parametrize("kind", COLUMNS.values(), ids=COLUMNS)
@given(ids=st.lists(st.integers(0, 10**6), min_size=1, max_size=8))
def test_a_column_of_any_library_has_the_ids_of_a_list(kind, ids):
    found = as_id_column(kind(ids), "user_ids")
    assert found.dtype == object
    assert found.tolist() == [str(one) for one in ids]
    assert {type(one) for one in found} == {str}
    assert as_ids(kind(ids)) == tuple(found)


def test_an_array_of_strings_is_not_copied():
    given = np.array(["a", "b", "a"], dtype=object)
    assert as_id_column(given, "user_ids") is given


@pytest.mark.parametrize(
    ("column", "index"),
    [
        (pd.Series([7, None, 8]), 1),
        (pd.Series([7, None, 8], dtype="Int64"), 1),
        (pd.Series(["a", None], dtype="string"), 1),
        (pd.Series(["a", None], dtype="category"), 1),
        (pa.array([2**60 + 1, None]), 1),
        (pa.nulls(2), 0),
        (np.array([1, 2.5]), 1),
        (np.array([1, np.nan]), 1),
        (np.array([1, 2**24], dtype=np.float32), 1),
        (np.array([1.0, 2.0**60]), 1),
        (pa.array([1.0, 2.0**60]), 1),
        (pa.array([[1], [2]]), 0),
        (np.array(["a", ""]), 1),
        (np.array(["a", " "], dtype=object), 1),
        (np.array([True]), 0),
        (np.array([b"a"]), 0),
        ([1, True], 1),
    ],
    ids=lambda given: type(given).__name__,  # the text of an Arrow array has its address
)
def test_the_first_bad_entry_of_a_column_is_named(column, index):
    with refused(DataError, f"ids[{index}]", argument="ids"):
        as_id_column(column, "ids")


@pytest.mark.parametrize(
    "column", ["ab", b"ab", {"a": 1}, {"a"}, 7, np.ones((2, 1)), pd.DataFrame({"a": [1]})], ids=repr
)
def test_what_is_no_column_is_refused(column):
    with refused(DataError, argument="user_ids"):
        as_id_column(column, "user_ids")


@pytest.mark.parametrize("one", ["12", b"12", 12, 1.5, None, np.array(1), pd.DataFrame({"a": [1]})], ids=repr)
def test_a_single_id_is_no_list_of_ids(one):
    with refused(DataError, argument="user_ids"):
        as_ids(one)


def test_unused_categories_are_no_ids():
    column = pd.Series(["a", ""], dtype="category")[:1]
    assert as_id_column(column, "user_ids").tolist() == ["a"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", "7"),
        ("007", "007"),
        ("7.0", 7.0),
        ("-7.00", -7.0),
        ("1.5", "1.5"),
        ("1.2345678901234568e+18", 1.2345678901234568e18),
        ("1.23E+18", 1.23e18),
        ("12e5", "12e5"),
        ("1e5", "1e5"),
        ("v1.0", "v1.0"),
        ("1.0.0", "1.0.0"),
        ("", ""),
    ],
)
def test_only_what_programs_write_for_floats_is_a_number_in_text(text, value):
    assert parse_text_id(text) == value
    assert type(parse_text_id(text)) is type(value)


def rows_of(users):
    return [
        {"user_id": user, "prompt_id": user, "prompt": f"{n}?", "chosen": "a", "rejected": "b"}
        for n, user in enumerate(users)
    ]


def write_jsonl(users, folder):
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows_of(users)), encoding="utf-8")
    return Preferences.from_files(folder / "log.jsonl")


def write_csv(users, folder):
    pd.DataFrame(rows_of(users)).to_csv(folder / "log.csv", index=False)
    return Preferences.from_files(folder / "log.csv")


def write_parquet(users, folder):
    pd.DataFrame(rows_of(users)).to_parquet(folder / "log.parquet")
    return Preferences.from_files(folder / "log.parquet")


def read_arrays(users, _):
    table = pd.DataFrame(rows_of(users))
    n = len(table)
    return EmbeddedPreferences.from_arrays(
        np.ones((2, 1)), np.zeros(n, int), np.ones(n, int), table["user_id"], table["prompt_id"]
    )


FORMATS = {
    "JSON lines": write_jsonl,
    "CSV": write_csv,
    "Parquet": write_parquet,
    "data set": lambda users, _: Preferences.from_dataset(Dataset.from_list(rows_of(users))),
    "records": lambda users, _: Preferences.from_records(rows_of(users)),
    "DataFrame": lambda users, _: Preferences.from_records(pd.DataFrame(rows_of(users))),
    "Arrow table": lambda users, _: Preferences.from_records(pa.Table.from_pylist(rows_of(users))),
    "arrays": read_arrays,
}


@pytest.mark.parametrize("read", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("kind", [int, float, str])
@given(users=st.lists(st.integers(0, 2**53 - 1), min_size=1, max_size=4))
@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_log_has_the_same_ids_in_every_format(read, kind, users, tmp_path):
    found = read([kind(user) for user in users], tmp_path)
    assert list(found.user_ids) == list(found.prompt_ids) == [str(user) for user in users]


@pytest.mark.parametrize("read", FORMATS.values(), ids=FORMATS)
def test_a_float_that_is_not_exact_is_an_error_in_every_format(read, tmp_path):
    """As pandas makes of two ids that differ in their last digit, in a column with an empty cell."""
    users = [1234567890123456789, 1234567890123456780]
    with pytest.raises(DataError, match="2\\*\\*53"):
        read([float(user) for user in users], tmp_path)
    assert list(read(users, tmp_path).user_ids) == [str(user) for user in users]


@pytest.mark.parametrize("write", ["parquet", "data set", "DataFrame", "Arrow table"])
def test_a_column_of_32_bit_floats_holds_fewer_digits(write, tmp_path):
    def read(numbers):
        table = pd.DataFrame(rows_of(["u"] * len(numbers))).assign(user_id=np.array(numbers, dtype=np.float32))
        if write == "parquet":
            table.to_parquet(tmp_path / "log.parquet")
            return Preferences.from_files(tmp_path / "log.parquet")
        if write == "data set":
            return Preferences.from_dataset(Dataset.from_pandas(table))
        return Preferences.from_records(table if write == "DataFrame" else pa.Table.from_pandas(table))

    assert list(read([7, 2**24 - 1]).user_ids) == ["7", "16777215"]
    with refused(DataError, "2**24", row=2, column="user_id"):
        read([7, 2**24 + 1])


def test_ids_that_look_the_same_are_in_the_warnings_of_an_input(tmp_path):
    rows = rows_of(["ann", "ben", "ann "])
    (warning,) = Preferences.from_records([{**row, "prompt_id": "p"} for row in rows]).summary.warnings()
    assert "2 user ids" in warning
    assert "'ann' and 'ann '" in warning
    user, prompt = read_arrays(["ann", "ben", "ann "], tmp_path).id_warnings()
    assert ("user ids" in user, "prompt ids" in prompt) == (True, True)
    assert read_arrays(["ann", "ben"], tmp_path).id_warnings() == []


def test_ids_that_look_the_same_are_found():
    ids = ["ann", "José", "ben", "ann ", "ann", "Jose\u0301", "u1", "\ufeffu1", "u1\u200b", "Ann"]
    assert look_alikes(ids) == [("ann", "ann "), ("José", "Jose\u0301"), ("u1", "\ufeffu1", "u1\u200b")]
    assert look_alikes(ids, among=["ann ", "ben"]) == [("ann", "ann ")]
    assert look_alikes(["ann", "ben", "ann"]) == []


def test_the_warning_counts_them_and_shows_what_differs():
    (warning,) = look_alike_warnings(["José", "u1", "Jose\u0301", "\ufeffu1", "u1\u200b"], "user")
    assert "5 user ids" in warning
    assert r"'Jos\xe9'" in warning
    assert r"'Jose\u0301'" in warning
    assert look_alike_warnings(["ann", "Ann"], "user") == []


def test_a_user_who_is_not_known_is_named():
    check_known(["a"], {"a", "b"}, "the model")
    with refused(UnknownUserError, "'z'", "the model", argument="user_ids"):
        check_known(["a", "z"], {"a", "b"}, "the model")


@pytest.mark.parametrize(
    ("wanted", "known"),
    [
        ("ann ", "ann"),
        ("ANN", "Ann"),
        ("Jose", "José"),
        ("Jose\u0301", "José"),
        ("7", "7.0"),
        ("7", "007"),
        ("user-12", "user_12"),
        ("annabel", "annabell"),
    ],
)
def test_the_nearest_known_id_is_suggested(wanted, known):
    assert nearest(wanted, ["someone else", known]) == known


def test_nothing_is_suggested_where_nothing_is_near():
    assert nearest("zoe", ["ann", "12"]) is None
    assert nearest("12", []) is None
