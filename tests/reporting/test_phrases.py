"""Numbers and names as the report writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorerm.reporting import phrases


@pytest.mark.parametrize(
    ("difference", "text"),
    [(0.014, "+1.4"), (-0.003, "−0.3"), (0.0, "0.0"), (0.0004, "+0.04"), (-0.0002, "−0.02"), (1e-9, "0.0")],
)
def test_points(difference, text):
    assert phrases.points(difference) == text


@given(st.floats(-1, 1))
def test_points_keep_sign_and_size(difference):
    """What is read back is the difference to half a unit of the last place, and never of the other sign."""
    read = float(phrases.points(difference).replace("−", "-"))
    assert read == pytest.approx(100 * difference, abs=0.051)
    assert read * difference >= 0


def test_accuracy_has_its_standard_error_where_there_is_one():
    assert phrases.accuracy({"mean": 0.7131, "stderr": 0.0082}) == "71.3 ± 0.8"
    assert phrases.accuracy({"mean": 0.7131, "stderr": None}) == "71.3"
    assert phrases.accuracy(None) == "-"


def test_intervals():
    assert phrases.interval([0.004, 0.024]) == "+0.4 to +2.4"
    assert phrases.percent_interval([0.698, 0.7291]) == "69.8 to 72.9"
    assert phrases.interval(None) == phrases.percent_interval(None) == "-"


def test_ranks_have_names():
    names = [phrases.rank_label({"rank": rank, "fitted_rank": rank}) for rank in (0, 1, 5)]
    assert names == ["reference head", "one Bradley-Terry direction", "LoRe, K = 5"]


def test_a_rank_that_lost_directions_says_so():
    assert phrases.rank_label({"rank": 5, "fitted_rank": 3}) == "LoRe, K = 5 (3 fitted)"


def test_counts():
    assert [phrases.count(n, "user") for n in (0, 1, 1200)] == ["0 users", "1 user", "1,200 users"]
    assert phrases.count(None) == "-"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "not set"),
        (True, "yes"),
        (0.5, "0.5"),
        (1e4, "10000"),
        (3, "3"),
        ([0, 1], "0, 1"),
        ([], "none"),
        ({"a": 1}, '{"a": 1}'),
    ],
)
def test_settings(value, text):
    assert phrases.setting(value) == text
