import math

import numpy as np
import pytest

from lorerm.data.ids import parse_id, require_id
from lorerm.errors import DataError
from refusals import refused


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
