"""What the axes mean, as one record per axis that every medium draws."""

from __future__ import annotations

from dataclasses import dataclass

from lorerm.reporting.phrases import MINUS, percent
from lorerm.reporting.reading import Record

_STRONGEST = 5
_WEAK = 0.05


@dataclass(frozen=True)
class Axis:
    """One axis in words."""

    name: str
    facts: tuple[tuple[str, str], ...]
    properties: tuple[tuple[str, float, str], ...]
    """the plain properties that it goes with, strongest first: name, correlation, and the latter as text"""
    highest: tuple[str, ...]
    lowest: tuple[str, ...]


def axes_of(report: Record) -> tuple[Axis, ...]:
    """Return the axes of a report, empty where it has none."""
    return tuple(_axis(entry) for entry in (report.get("axes") or {}).get("directions") or ())


def _axis(entry: Record) -> Axis:
    facts = []
    if entry["share"] is not None:
        what = "mean weight" if entry["name"].startswith("direction") else "share of what people differ in"
        facts.append((what, f"{percent(entry['share'])}%"))
    if entry["reference_cosine"] is not None:
        facts.append(("cosine with the reference head", signed(entry["reference_cosine"])))
    if entry["stability"] is not None:
        found = entry["stability"]
        worst = f", lowest {signed(found['lowest'])}" if found["n_seeds"] > 1 else ""
        facts.append(("found again by other seeds", f"correlation {signed(found['mean'])}{worst}"))
    properties = [row for row in entry["properties"] or () if abs(row["correlation"]) >= _WEAK][:_STRONGEST]
    return Axis(
        entry["name"],
        tuple(facts),
        tuple((row["name"], row["correlation"], signed(row["correlation"])) for row in properties),
        tuple(entry["highest"] or ()),
        tuple(entry["lowest"] or ()),
    )


def signed(value: float) -> str:
    """Write a correlation: ``+0.42``, ``−0.10``."""
    text = f"{abs(value):.2f}"
    return text if text == "0.00" else f"{MINUS if value < 0 else '+'}{text}"
