import numpy as np
import pandas as pd
import pytest

from lorerm.data.coercion import (
    as_list,
    as_number,
    as_whole_number,
    describe,
    is_missing,
)


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
    assert all(map(is_missing, (float("nan"), np.float32("nan"), pd.NA, pd.NaT, np.ma.masked)))
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
