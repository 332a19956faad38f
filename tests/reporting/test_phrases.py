"""Numbers and names as the report writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorerm.evaluation.report import Estimate, RankRow
from lorerm.reporting import phrases


def estimate(**changes):
    return Estimate(**{"mean": 0.7131, "stderr": 0.0082, "ci95": None, "n_users": 9} | changes)


@pytest.mark.parametrize(
    ("difference", "text"),
    [(0.014, "+1.4"), (-0.003, "−0.3"), (0.0, "0.0"), (0.0004, "+0.04"), (-0.0002, "−0.02"), (1e-9, "0.0")],
)
def test_points(difference, text):
    assert phrases.points(difference) == text


@given(st.floats(-1, 1))
def test_points_keep_sign_and_size(difference):
    """The written number is the difference to half a unit of the last decimal, and never of the other sign."""
    read = float(phrases.points(difference).replace("−", "-"))
    assert read == pytest.approx(100 * difference, abs=0.051)
    assert read * difference >= 0


def test_accuracy_with_and_without_standard_error():
    assert phrases.accuracy(estimate()) == "71.3 ± 0.8"
    assert phrases.accuracy(estimate(stderr=None)) == "71.3"
    assert phrases.accuracy(None) == "-"


def test_intervals():
    assert phrases.interval([0.004, 0.024]) == "+0.4 to +2.4"
    assert phrases.percent_interval([0.698, 0.7291]) == "69.8 to 72.9"
    assert phrases.interval(None) == phrases.percent_interval(None) == "-"


@pytest.mark.parametrize(
    ("ci95", "text"),
    [
        ((0.01, 0.03), "better"),
        ((-0.03, -0.01), "worse"),
        ((-0.01, 0.03), "too few users to tell"),
        ((0.0, 0.03), "too few users to tell"),
        (None, "too few users to tell"),
        ((0.0, 0.0), "the same"),
    ],
)
def test_result_of_a_difference(ci95, text):
    assert phrases.result(estimate(ci95=ci95)) == text


def test_a_correlation_that_rounds_to_0_has_no_sign():
    assert [phrases.correlation(value) for value in (0.42, -0.1, -0.001)] == ["+0.42", "−0.10", "0.00"]


def test_names_of_ranks():
    names = [phrases.rank_label(RankRow(rank=rank, fitted_rank=rank, available=True)) for rank in (0, 1, 5)]
    assert names == ["reference head (K = 0)", "single Bradley-Terry (K = 1)", "personal weights (K = 5)"]


def test_a_rank_that_lost_directions_has_their_number():
    assert (
        phrases.rank_label(RankRow(rank=5, fitted_rank=3, available=True)) == "personal weights (K = 5, 3 of them kept)"
    )


def test_counts():
    assert [phrases.count(n, "user") for n in (0, 1, 1200)] == ["0 users", "1 user", "1,200 users"]
    assert phrases.count(None) == "-"


def test_long_names_lose_their_middle():
    assert phrases.shortened("annotator-17", 12) == "annotator-17"
    assert phrases.shortened("a-user-with-a-long-name@example.org", 14) == "a-user-wi….org"


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
