import math

import numpy as np
import pytest

from lorerm.data.coercion import (
    as_list,
    as_number,
    as_whole_number,
    describe,
    is_missing,
    parse_id,
    require_id,
)
from lorerm.errors import DataError
from refusals import refused


@pytest.mark.parametrize(
    ("value", "number"), [(3, 3), (2.0, 2), (np.int32(4), 4), (np.float32(5), 5), (10**400, 10**400)]
)
def test_whole_numbers(value, number):
    assert as_whole_number(value) == number


@pytest.mark.parametrize("value", [True, 2.5, "3", None, float("nan"), float("inf")])
def test_other_values_are_no_whole_number(value):
    assert as_whole_number(value) is None


@pytest.mark.parametrize("value", [True, "3", None, float("nan"), float("-inf"), 10**400, [1]])
def test_other_values_are_no_number(value):
    assert as_number(value) is None


def test_numbers():
    assert [as_number(value) for value in (3, 2.5, np.float64(1.5), np.uint8(2))] == [3.0, 2.5, 1.5, 2.0]


def test_lists_and_nulls():
    assert as_list((1, 2)) == as_list(np.array([1, 2])) == [1, 2]
    assert as_list("ab") is None
    assert as_list({}) is None
    assert is_missing(None)
    assert is_missing(float("nan"))
    assert not is_missing("")
    assert not is_missing(0)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "empty"),
        (" ", "empty"),
        (float("nan"), "empty"),
        (1.5, "1.5"),
        (np.int64(3), "3"),
        (True, "True"),
        ("a secret", "a string"),
        (["a secret"], "of type list"),
        (10**100, "1" + 39 * "0"),
    ],
)
def test_an_error_repeats_numbers_but_no_text(value, words):
    assert describe(value) == words


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("007", "007"),
        (" x", " x"),
        ("é", "é"),
        ("1.0", "1.0"),
        (7, "7"),
        (7.0, "7"),
        (np.int64(7), "7"),
        (np.float32(7), "7"),
        (10**30, str(10**30)),
        (0, "0"),
    ],
)
def test_strings_stay_and_whole_numbers_become_digits(value, expected):
    assert parse_id(value, "user_id") == require_id(value, "user_id") == expected


@pytest.mark.parametrize("value", [None, "", " ", math.nan])
def test_absent_id(value):
    assert parse_id(value, "prompt_id") is None
    with refused(DataError, column="prompt_id"):
        require_id(value, "prompt_id")


@pytest.mark.parametrize("value", [True, 1.5, ["a"], {"a": 1}, math.inf, "\ud800", b"a"])
@pytest.mark.parametrize("read", [parse_id, require_id])
def test_other_values_are_no_id(value, read):
    with refused(DataError, column="worker"):
        read(value, "worker")


def test_text_in_place_of_an_id_is_not_repeated():
    with refused(DataError, column="user_id") as caught:
        parse_id(["a secret"], "user_id")
    assert "secret" not in str(caught.value)
