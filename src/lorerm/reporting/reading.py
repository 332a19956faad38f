"""Finding things in a report: its rows, its cells, and the rank that the tables speak about."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from lorerm.data.schema import SPLITS
from lorerm.errors import DataError

SCHEMA_VERSION = 1

Record: TypeAlias = Mapping[str, Any]
"""The report, or one of the JSON objects in it."""

SPLIT_LABELS = dict(
    zip(
        SPLITS,
        (
            "seen users, train prompts",
            "seen users, test prompts",
            "unseen users, few-shot prompts",
            "unseen users, test prompts",
        ),
        strict=True,
    )
)
"""The heading of each split, in the order of every table."""

_REQUIRED = ("schema_version", "data", "ranks", "chosen_rank")


def check(report: Record) -> None:
    """Refuse what is not a report of this schema, or holds a number that JSON cannot.

    Raises
    ------
    DataError
        The report lacks a part, is of another schema version, or holds NaN or an infinity.
    """
    missing = [name for name in _REQUIRED if name not in report]
    if missing:
        raise DataError(f"the report has no {missing[0]!r}", "give the dict that docs/report.md describes")
    if report["schema_version"] != SCHEMA_VERSION:
        raise DataError(
            f"the report has schema version {report['schema_version']!r}, this library reads {SCHEMA_VERSION}",
            "write the report again with this version of lorerm",
        )
    if not any(entry["rank"] == report["chosen_rank"] for entry in report["ranks"]):
        raise DataError(
            f"the chosen rank {report['chosen_rank']!r} is not among the ranks of the report",
            "name one of the ranks as chosen_rank",
        )
    for path in _not_finite(report, "report"):
        raise DataError(f"{path} is not a finite number", "store null where there is no value")


def _not_finite(value: object, path: str) -> Iterator[str]:
    """Yield the paths of the numbers that are NaN or infinite."""
    if isinstance(value, float) and not math.isfinite(value):
        yield path
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _not_finite(item, f"{path}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _not_finite(item, f"{path}[{index}]")


def available_ranks(report: Record) -> list[int]:
    """Return the ranks that were evaluated, in the order of the report."""
    return [entry["rank"] for entry in report["ranks"] if entry["available"]]


def rank_entry(report: Record, rank: int) -> Record | None:
    """Return the entry of one rank, None where the report has none."""
    return next((entry for entry in report["ranks"] if entry["rank"] == rank), None)


def focus_rank(report: Record) -> int:
    """Return the rank that controls and differences are about.

    It is the rank that validation chose; where that one is not personal (0 or 1), the largest that is, so that a reader
    can see what personal weights would have done: one with more than one fitted direction, if there is any. Where no
    rank is personal, it is the chosen one.
    """
    chosen = int(report["chosen_rank"])
    personal = [rank for rank in available_ranks(report) if rank >= 2]
    if chosen >= 2 or not personal:
        return chosen
    fitted = {entry["rank"]: entry["fitted_rank"] for entry in report["ranks"]}
    return max(personal, key=lambda rank: (fitted[rank] != 1, rank))


def was_validated(report: Record) -> bool:
    """Tell whether the chosen rank was compared on validation pairs; the published recipes have none."""
    entry = rank_entry(report, report["chosen_rank"])
    return entry is not None and entry.get("selection") is not None


def cell(entry: Record | None, name: str) -> Record | None:
    """Return one cell of a rank or control, None where it is empty."""
    if entry is None or entry.get("cells") is None:
        return None
    found: Record | None = entry["cells"].get(name)
    return found


def filled_cells(report: Record) -> list[str]:
    """Return the names of the cells in which some rank has a value, in the order of `SPLIT_LABELS`."""
    return [name for name in SPLIT_LABELS if any(cell(entry, name) is not None for entry in report["ranks"])]


def controls_of(report: Record, rank: int) -> list[Record]:
    """Return the controls of one rank, in the order of the report."""
    return [entry for entry in report.get("controls") or [] if entry["rank"] == rank]


def differences_of(report: Record, rank: int) -> list[Record]:
    """Return the differences of one rank, in the order of the report."""
    return [entry for entry in report.get("differences") or [] if entry["rank"] == rank]


def difference(report: Record, rank: int, against: str, name: str) -> Record | None:
    """Return the difference of a rank against a control in one cell, None where it was not computed."""
    rows = differences_of(report, rank)
    return next((entry for entry in rows if entry["against"] == against and entry["cell"] == name), None)


def gains_of(report: Record) -> dict[str, list[float]]:
    """Return the per-user gains over the shared direction, by cell that has users, unseen ones first."""
    gains = report.get("gains") or {}
    return {name: list(gains[name]) for name in ("test_unseen", "test_seen") if gains.get(name)}


def people_of(report: Record) -> dict[str, list[Record]]:
    """Return who gains, person by person, by cell that has users, unseen ones first; empty in reports without it."""
    rows = (report.get("gains") or {}).get("users") or []
    found = {name: [row for row in rows if row["cell"] == name] for name in ("test_unseen", "test_seen")}
    return {name: people for name, people in found.items() if people}
