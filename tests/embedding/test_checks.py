"""Checks of an embedding matrix: values, scale, rows that are far off, responses that look the same."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from lorerm.embedding.checks import (
    LARGEST,
    check_distinguishable,
    check_finite,
    check_usable,
    count_same,
    equal_rows,
    row_sizes,
    same_warnings,
    scale_warnings,
)
from lorerm.embedding.embedded_preferences import EmbeddedPreferences
from lorerm.embedding.matrices import StoredMatrix
from lorerm.errors import DataError
from refusals import refused

MATRIX = np.random.default_rng(0).standard_normal((24, 5)).astype(np.float32)
CHOSEN, REJECTED = np.arange(0, 24, 2), np.arange(1, 24, 2)


def stored(folder, rows):
    """The rows as a matrix on disk."""
    path = folder / "rows.safetensors"
    save_file({"rows": torch.as_tensor(rows)}, path)
    return StoredMatrix([path], "rows")


def embedded(responses, **columns):
    """Twelve comparisons between neighbouring rows."""
    return EmbeddedPreferences.from_arrays(responses, CHOSEN, REJECTED, ["u"] * 12, **columns)


def changed(rows, value, matrix=MATRIX):
    """A copy of the matrix with some rows replaced."""
    copy = np.array(matrix, dtype=np.float64)
    copy[rows] = value
    return copy


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor, lambda rows: torch.as_tensor(rows).bfloat16()])
def test_values_that_are_not_finite_are_refused(bad, kind):
    responses = MATRIX[:4].copy()
    responses[2, 1] = bad
    with refused(DataError, "row 2", argument="responses"):
        check_finite(kind(responses))


def test_the_first_bad_row_is_found_beyond_the_first_block(monkeypatch):
    monkeypatch.setattr("lorerm.embedding.checks._CHECKED_ELEMENTS", 6)
    responses = MATRIX[:4].copy()
    responses[3, 0] = np.nan
    with refused(DataError, "row 3", argument="responses"):
        check_finite(responses)


def test_a_bad_row_on_disk_is_found(tmp_path):
    bad = MATRIX.copy()
    bad[7, 1] = np.inf
    with refused(DataError, "row 7", argument="responses"):
        check_finite(stored(tmp_path, bad))


@pytest.mark.parametrize(
    ("rows", "value", "named"),
    [
        (3, 1e12, ["row 3", "rejected", "'u'", "1.0e+12"]),
        (slice(4, 6), -3e38, ["rows 4", "5", "3.0e+38"]),
        (slice(0, 8), 1e300, ["rows 0", "4", "3 more", "1.0e+300"]),
        (slice(0, 20), 1e300, ["20 of 24", "1.0e+300"]),
        (20, [0, 0, 1e7, 0, 0], ["row 20", "chosen", "1.0e+07"]),
        (9, 1e-12, ["row 9"]),
        (11, 300, ["row 11", "3.0e+02"]),
        (slice(None), 1e20, ["1.0e+20"]),
        (slice(None), np.nan, ["rows 0"]),
    ],
)
def test_rows_of_an_unusable_scale_are_refused_by_name(rows, value, named):
    with refused(DataError, *named, argument="responses"):
        embedded(changed(rows, value))


@pytest.mark.parametrize("factor", [1e300, 1e20, 1e-20, 1e-300])
def test_a_whole_matrix_beyond_float32_is_refused(factor):
    with refused(DataError, argument="responses"):
        embedded(MATRIX.astype(np.float64) * factor)


@pytest.mark.parametrize("factor", [1e-12, 1e-3, 1, 1e3, 1e12])
def test_a_matrix_of_any_usable_scale_is_accepted(factor):
    assert check_usable(MATRIX * np.float32(factor), embedded(MATRIX * np.float32(factor))) == []


@pytest.mark.parametrize(
    "matrix",
    [
        np.ones((24, 5)),
        1 + 1e-9 * MATRIX.astype(np.float64),
        np.float32(1e6) + np.float32(0.1) * MATRIX,
        np.zeros((24, 5)),
    ],
)
def test_embeddings_that_are_all_but_constant_are_refused(matrix):
    with refused(DataError, "24", argument="responses"):
        embedded(matrix)


def test_one_feature_that_varies_is_enough():
    matrix = np.ones((24, 5), dtype=np.float32)
    matrix[:, 3] = MATRIX[:, 3]
    assert len(embedded(matrix)) == 12


def test_of_few_rows_none_is_typical():
    """A user's first comparison: one response can be far larger than the other, but not garbage."""
    pair = np.array([[0.001, 0.002], [1.0, 2.0]])
    assert len(EmbeddedPreferences.from_arrays(pair, [0], [1], ["u"])) == 1
    with refused(DataError, "row 1", argument="responses"):
        EmbeddedPreferences.from_arrays(pair * [[1], [1e6]], [0], [1], ["u"])


def test_rows_that_no_comparison_uses_need_only_be_finite():
    unused = np.concatenate([MATRIX, np.full((1, 5), 1e14, dtype=np.float32)])
    assert len(embedded(unused)) == 12
    with refused(DataError, "row 24", argument="responses"):
        embedded(np.concatenate([MATRIX, np.full((1, 5), np.nan)]))


def test_rows_of_an_unusual_scale_are_reported():
    large, zero = (
        scale_warnings(matrix := changed(5, 60), embedded(matrix)),
        scale_warnings(matrix := changed([6, 7], 0), embedded(matrix)),
    )
    assert "1 of 24 (rows 5)" in large[0]
    assert "2 of 24 (rows 6, 7)" in zero[0]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from([-1.0, -0.0, 0.0, 1.0, 1.0 + 2**-23]), min_size=3, max_size=3), min_size=2),
    st.data(),
)
def test_equal_rows_are_those_that_are_equal_in_every_element(rows, data):
    matrix = torch.tensor(rows)
    index = st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=20)
    left = torch.tensor(data.draw(index))
    right = torch.tensor(data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=len(left), max_size=len(left))))
    assert equal_rows(matrix, left, right).tolist() == (matrix[left] == matrix[right]).all(dim=1).tolist()


def test_rows_that_differ_only_beyond_float32_look_the_same():
    matrix = MATRIX.astype(np.float64)
    matrix[1] = matrix[0] * (1 + 1e-12)
    assert count_same(matrix, embedded(matrix)) == 1


def test_comparisons_that_look_the_same_are_counted_on_disk(tmp_path):
    matrix = MATRIX.copy()
    matrix[[1, 7]] = matrix[[0, 6]]
    on_disk = stored(tmp_path, matrix)
    assert count_same(on_disk, embedded(on_disk)) == 2
    (sentence,) = check_usable(on_disk, embedded(on_disk))
    assert sentence == same_warnings(2, 12)[0]
    assert "2 of 12" in sentence
    assert same_warnings(0, 12) == []


def test_nearly_all_comparisons_that_look_the_same_are_refused():
    with refused(DataError, "90 of 100", argument="responses"):
        check_distinguishable(90, 100)
    check_distinguishable(89, 100)
    check_distinguishable(9, 9)  # a user's first comparisons may all be ties
    with refused(DataError, "9 of 9"):
        check_distinguishable(9, 9, fewest=1)


def test_the_size_of_a_row_is_its_largest_magnitude():
    assert row_sizes(np.array([[1, -3], [0, 0]])).tolist() == [3, 0]
    assert row_sizes(torch.tensor([[LARGEST, 1.0]], dtype=torch.float64)).tolist() == [LARGEST]
