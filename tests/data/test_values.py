import numpy as np
import pytest

from lorerm.data.values import as_list, as_number, as_whole_number, is_list, is_missing


@pytest.mark.parametrize(
    ("value", "number"), [(3, 3), (2.0, 2), (np.int32(4), 4), (np.float32(5), 5), (10**400, 10**400)]
)
def test_whole_numbers(value, number):
    assert as_whole_number(value) == number


@pytest.mark.parametrize("value", [True, 2.5, "3", None, float("nan"), float("inf")])
def test_what_is_no_whole_number(value):
    assert as_whole_number(value) is None


@pytest.mark.parametrize("value", [True, "3", None, float("nan"), float("-inf"), 10**400, [1]])
def test_what_is_no_number(value):
    assert as_number(value) is None


def test_numbers():
    assert [as_number(value) for value in (3, 2.5, np.float64(1.5), np.uint8(2))] == [3.0, 2.5, 1.5, 2.0]


def test_lists_and_nulls():
    assert as_list((1, 2)) == as_list(np.array([1, 2])) == [1, 2]
    assert as_list("ab") is None
    assert is_list([])
    assert not is_list({})
    assert is_missing(None)
    assert is_missing(float("nan"))
    assert not is_missing("")
    assert not is_missing(0)
