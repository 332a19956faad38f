"""Embeddings as numbers and as base64."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from pydantic import ValidationError

from lorerm.errors import DataError
from lorerm.serving.documents import EmbeddingDocument
from lorerm.serving.vectors import MOST_NUMBERS, as_rows

VECTOR = np.array([0.0, -1.5, 3.25e-20, 1e30, 0.1], dtype=np.float32)


def read(value):
    return EmbeddingDocument.model_validate_json(json.dumps({"embedding": value})).embedding


def test_all_forms_are_the_same_vector():
    forms = [VECTOR.tolist(), base64.b64encode(VECTOR).decode(), base64.urlsafe_b64encode(VECTOR).decode()]
    for chosen in (forms, forms[1:], forms[:1]):
        rows = as_rows([read(form) for form in chosen], 5)
        assert rows.dtype == np.float32
        np.testing.assert_array_equal(rows, [VECTOR] * len(chosen))


def test_whole_numbers_are_numbers():
    assert as_rows([read([1, -2])], 2).tolist() == [[1.0, -2.0]]


@pytest.mark.parametrize(
    "value",
    [
        *(
            "AAAA*AAA",
            "A",
            "ÄÄÄÄ",
            "AA\nAAAAA",
            ["1"],
            [True],
            [None],
            [[1.0]],
            [1.0, "x"],
            [10**400],
            None,
            3,
            {"a": 1},
        ),
        [0.0] * (MOST_NUMBERS + 1),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_anything_else_is_refused(value):
    with pytest.raises(ValidationError):
        read(value)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(number):
    with pytest.raises(ValidationError):
        EmbeddingDocument.model_validate_json(f'{{"embedding": [{number}]}}')


@pytest.mark.parametrize("value", ["", "AAAA", "AAAAAA==", [], [1.0], [1.0, 2.0, 3.0]], ids=repr)
def test_another_length_is_refused(value):
    with pytest.raises(DataError, match="the model's have 2"):
        as_rows([read([1.0, 2.0]), read(value)], 2)


def test_what_is_too_large_becomes_infinite_and_is_found_by_its_reward():
    assert np.isinf(as_rows([read([1e300])], 1)).all()
