"""Embeddings as numbers and as base64."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from lorerm.serving.vectors import MOST_NUMBERS, read_vector, write_vector


def test_both_forms_are_the_same_vector():
    vector = np.array([0.0, -1.5, 3.25e-20, 1e30], dtype=np.float32)
    for form in (vector.tolist(), write_vector(vector), base64.urlsafe_b64encode(vector.tobytes()).decode()):
        found = read_vector(form)
        assert found.dtype == np.float32
        assert found.tobytes() == vector.tobytes()


def test_whole_numbers_are_numbers():
    assert read_vector([1, -2]).tolist() == [1.0, -2.0]


@pytest.mark.parametrize(
    "value",
    [
        *("", "AAAA*AAA", "AAAA", "AAA", "ÄÄÄÄ", "AA\nAAAAA"),
        *([], ["1"], [True], [None], [[1.0]], [1.0, "x"], [10**400], None, 3, {"a": 1}, b"AAAA"),
        [0.0] * (MOST_NUMBERS + 1),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_anything_else_is_refused_without_being_repeated(value):
    with pytest.raises(ValueError) as raised:
        read_vector(value)
    assert "*AAA" not in str(raised.value)
    assert "0000" not in str(raised.value)


def test_what_is_too_large_becomes_infinite_and_is_found_by_its_reward():
    assert np.isinf(read_vector([1e300])).all()
