"""How the report writes numbers and names: one decimal, real minus signs, the words of the field."""

from __future__ import annotations

import json
from collections.abc import Sequence

from lorerm.reporting.reading import Record

NOTHING = "-"
"""What stands where there is no value."""

MINUS = "\N{MINUS SIGN}"

_AGAINST = {
    "shared_direction": "the shared direction alone",
    "bradley_terry": "one Bradley-Terry direction",
    "reference_head": "the reference head",
    "other_users_weights": "another user's weights",
}


def percent(share: float | None) -> str:
    """Write a share of 0..1 as a percentage without its sign: 0.7131 is ``71.3``."""
    return NOTHING if share is None else f"{100 * share:.1f}"


def accuracy(cell: Record | None) -> str:
    """Write an accuracy with its standard error, in per cent: ``71.3 ± 0.8``."""
    if cell is None:
        return NOTHING
    if cell.get("stderr") is None:
        return percent(cell["mean"])
    return f"{percent(cell['mean'])} ± {percent(cell['stderr'])}"


def points(difference: float) -> str:
    """Write a difference of two shares in signed percentage points: ``+1.4``, ``−0.3``.

    One decimal, two where one would round a difference to nothing and so lose its sign.
    """
    value = 100 * difference
    text = f"{abs(value):.1f}"
    if float(text) == 0:
        text = f"{abs(value):.2f}"
    if float(text) == 0:
        return "0.0"
    return ("+" if value > 0 else MINUS) + text


def interval(bounds: Sequence[float] | None) -> str:
    """Write an interval of a difference in points: ``+0.4 to +2.4``."""
    return NOTHING if bounds is None else f"{points(bounds[0])} to {points(bounds[1])}"


def percent_interval(bounds: Sequence[float] | None) -> str:
    """Write an interval of an accuracy in per cent: ``69.8 to 72.9``."""
    return NOTHING if bounds is None else f"{percent(bounds[0])} to {percent(bounds[1])}"


def count(number: int | None, noun: str = "", plural: str | None = None) -> str:
    """Write a count with thousands separators, and its noun in the plural where there is one: ``1,200 users``."""
    if number is None:
        return NOTHING
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}" if noun else f"{number:,}"


def shortened(text: str, length: int) -> str:
    """Return a name that is no longer than `length`, its middle left out."""
    if len(text) <= length:
        return text
    end = length // 3
    return f"{text[: length - end - 1]}…{text[-end:]}"


def rank_label(entry: Record) -> str:
    """Name a rank: the reference head, one Bradley-Terry direction, or LoRe with its rank (and what was left of it)."""
    rank, fitted = entry["rank"], entry.get("fitted_rank")
    if rank == 0:
        return "reference head"
    if rank == 1:
        return "one Bradley-Terry direction"
    kept = f" ({fitted} fitted)" if fitted is not None and fitted != rank else ""
    return f"LoRe, K = {rank}{kept}"


def against_label(name: str) -> str:
    """Name what a rank is compared with."""
    return _AGAINST.get(name, name.replace("_", " "))


def setting(value: object) -> str:
    """Write the value of a configuration field."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(setting(item) for item in value) or "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def field_name(name: str) -> str:
    """Write the name of a field as words: ``learning_rate`` is ``learning rate``."""
    return name.replace("_", " ")
