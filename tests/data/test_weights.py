"""Weights of comparisons: which are refused, and when all of them together deserve a warning."""

import numpy as np
import pytest

from lorerm.data.comparisons import Comparisons
from lorerm.data.schema import parse_weight
from lorerm.data.weights import LARGEST_WEIGHT, SMALLEST_WEIGHT, count_as_little, weight_warnings
from lorerm.errors import DataError
from refusals import refused


@pytest.mark.parametrize("weight", [0, -1, np.nan, np.inf, 1e300, 1e-300, 1e10, 5e-324])
def test_weights_out_of_range_are_refused_everywhere(weight):
    with refused(DataError, "weights[1]", argument="weights"):
        Comparisons.from_columns([0, 1], [1, 0], ["u", "u"], weights=[1.0, weight])
    if not np.isnan(weight):  # a missing value in a file
        with refused(DataError, column="weight"):
            parse_weight(weight)


@pytest.mark.parametrize("weight", [SMALLEST_WEIGHT, 1, LARGEST_WEIGHT])
def test_weights_in_range_are_taken(weight):
    assert parse_weight(weight) == weight
    assert Comparisons.from_columns([0], [1], ["u"], weights=[weight]).weights.tolist() == [weight]


@pytest.mark.parametrize(
    ("weights", "n_users", "warned"),
    [
        (np.full(144, 1 / 144), 12, True),  # the weights of all users sum to 1
        (np.full(144, 1 / 12), 12, True),  # the weights of each user sum to 1
        (np.full(144, 1e-9), 12, True),
        (np.full(144, 1.0), 12, False),
        (np.full(144, 0.5), 12, False),
        (np.tile([0.1, 1.9], 72), 12, False),  # weights with a mean of 1
        (np.full(30, 1 / 3), 10, False),  # one choice among four responses of each user
        (np.full(40, 1 / 3), 5, False),
        (np.full(144, 5000.0), 12, True),
    ],
)
def test_weights_that_together_count_as_next_to_nothing_or_too_much_are_reported(weights, n_users, warned):
    found = weight_warnings(weights, n_users)
    assert len(found) == warned
    if warned:
        assert "144" in found[0]
        assert f"{weights.sum():.3g}" in found[0]


def test_rounding_does_not_hide_weights_that_sum_to_one_for_each_user():
    assert count_as_little(np.full(49, 1 / 7).sum(), 49, 7)
    assert not count_as_little(7.1, 49, 7)


def test_a_table_without_weights_has_no_warning():
    table = Comparisons.from_columns([0, 1], [1, 0], ["u", "u"])
    assert table.weight_warnings() == []
    users = [f"user {u}" for u in range(4) for _ in range(9)]
    assert Comparisons.from_columns([0] * 36, [1] * 36, users, weights=[1 / 9] * 36).weight_warnings()
