"""Parts that several figures share: names beside lines, and axes for gains."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorerm.reporting.figures.panels import _spread, signed_tick


@given(st.lists(st.floats(0, 100), max_size=5))
def test_names_are_kept_apart_in_order_and_inside(heights):
    moved = _spread(heights, gap=12.5, low=0, high=100)
    ordered = sorted(moved)
    assert all(above - below >= 12.5 - 1e-9 for below, above in pairwise(ordered))
    assert all(-1e-9 <= height <= 100 + 1e-9 for height in moved)
    assert all(
        a <= b for (x, a) in zip(heights, moved, strict=True) for (y, b) in zip(heights, moved, strict=True) if x < y
    )


def test_names_with_room_do_not_move():
    assert _spread([10.0, 50.0, 30.0], gap=5, low=0, high=100) == [10.0, 50.0, 30.0]


@pytest.mark.parametrize(("value", "text"), [(5.0, "+5"), (-2.5, "\N{MINUS SIGN}2.5"), (0.0, "0")])
def test_gains_on_an_axis_have_a_sign(value, text):
    assert signed_tick(value, 0) == text
