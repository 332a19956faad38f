"""Axes in words."""

from __future__ import annotations

from lorerm.reporting.axes import axes_of, signed


def test_facts_and_the_strongest_properties(rich_report):
    shared, first, _ = axes_of(rich_report)
    assert dict(shared.facts) == {
        "cosine with the reference head": "+0.42",
        "found again by other seeds": "correlation +0.93, lowest +0.88",
    }
    assert dict(first.facts)["share of what people differ in"] == "70.0%"
    assert first.properties == (("length", 0.52, "+0.52"), ("hedges", -0.31, "\N{MINUS SIGN}0.31"))


def test_without_axes(seen_only_report):
    assert axes_of(seen_only_report) == ()


def test_a_correlation_of_nothing_has_no_sign():
    assert signed(-0.001) == "0.00"
