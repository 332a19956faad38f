"""Dataclasses as JSON and back: names, inlined fields, defaults, and errors that name the path."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from lorerm.errors import DataError
from lorerm.evaluation.json_records import from_json, inlined, named, to_json
from refusals import refused


@dataclass(frozen=True)
class Figure:
    mean: float
    bounds: tuple[float, float] | None = None


@dataclass(frozen=True)
class Row:
    label: int | str
    figure: Figure = field(metadata=inlined())
    count: int = field(default=0, metadata=named("n"))
    parts: Mapping[str, Figure | None] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    known: bool = True


@dataclass(frozen=True)
class Rest:
    first: int
    others: Mapping[str, tuple[float | None, ...]] = field(metadata=inlined())


ROW = Row("a", Figure(0.5, (0.25, 0.75)), 3, {"x": Figure(1.0), "y": None}, ("p", "q"), known=False)
CONTENT = {
    "label": "a",
    "mean": 0.5,
    "bounds": [0.25, 0.75],
    "n": 3,
    "parts": {"x": {"mean": 1.0, "bounds": None}, "y": None},
    "names": ["p", "q"],
    "known": False,
}


def test_there_and_back():
    assert to_json(ROW, "row") == CONTENT
    assert list(to_json(ROW, "row")) == list(CONTENT), "in the order of the fields"
    assert from_json(Row, CONTENT, "row") == ROW
    assert from_json(Row, CONTENT | {"label": 7}, "row").label == 7


def test_missing_keys_have_their_defaults_and_unknown_ones_are_ignored():
    assert from_json(Row, {"label": 1, "mean": 2, "of a later version": 0}, "row") == Row(1, Figure(2))


def test_an_inlined_mapping_has_the_keys_of_no_other_field():
    content = {"first": 1, "second": [0.5, None], "third": []}
    found = from_json(Rest, content, "rest")
    assert found == Rest(1, {"second": (0.5, None), "third": ()})
    assert to_json(found, "rest") == content


@pytest.mark.parametrize(
    ("changed", "path"),
    [
        ({"mean": "0.5"}, "row.mean"),
        ({"mean": True}, "row.mean"),
        ({"mean": None}, "row.mean"),
        ({"n": 0.5}, "row.n"),
        ({"known": 1}, "row.known"),
        ({"label": None}, "row.label"),
        ({"bounds": [0.1]}, "row.bounds"),
        ({"bounds": [0.1, math.nan]}, "row.bounds[1]"),
        ({"names": ["p", 1]}, "row.names[1]"),
        ({"names": "p"}, "row.names"),
        ({"parts": {"x": {"bounds": None}}}, "row.parts.x.mean"),
        ({"parts": {"x": {"mean": math.inf}}}, "row.parts.x.mean"),
        ({"parts": []}, "row.parts"),
        ({"parts": {"x": []}}, "row.parts.x"),
    ],
)
def test_errors_name_the_path(changed, path):
    with refused(DataError, f"{path} "):
        from_json(Row, CONTENT | changed, "row")


def test_a_missing_key_is_named():
    with refused(DataError, "row.label"):
        from_json(Row, {"mean": 1.0}, "row")


def test_numbers_that_json_cannot_hold_are_not_written():
    with refused(DataError, "row.parts.x.bounds[0] "):
        to_json(Row(1, Figure(1.0), parts={"x": Figure(1.0, (math.nan, 1.0))}), "row")
