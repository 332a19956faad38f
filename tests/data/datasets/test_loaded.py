"""Counts of the rows that the loader of a data set left out, by reason."""

from __future__ import annotations

import pytest

from lorerm.data.datasets.loaded import Tally


def test_steps_are_told_in_their_order_with_what_each_left():
    tally = Tally("rows", {"first": "no text", "second": "the same twice", "third": "never seen"})
    tally.add(10)
    tally.drop("second", 3)
    tally.drop("first")
    assert tally.lines() == ("rows read: 10", "1 left out, no text: 9 remain", "3 left out, the same twice: 6 remain")
    assert tally.left == 6


def test_unknown_step_is_no_step():
    with pytest.raises(KeyError):
        Tally("rows", {}).drop("nothing")
