"""Formatting of the numbers, and names of the ranks, in the report."""

from __future__ import annotations

import json
from collections.abc import Sequence

from lorerm.evaluation.report import Estimate, RankRow
from lorerm.model.baselines import BASELINES

NOTHING = "-"
"""Text for a missing value."""

MINUS = "\N{MINUS SIGN}"

USERS = {"test_unseen": "unseen users", "test_seen": "seen users"}
"""For each split with test prompts, the name of its users, in the order of a report."""


def percent(share: float | None) -> str:
    """Write a share from 0 to 1 in per cent, without the sign %: 0.7131 gives ``71.3``."""
    return NOTHING if share is None else f"{100 * share:.1f}"


def accuracy(estimate: Estimate | None) -> str:
    """Write an accuracy with its standard error over users, in per cent: ``71.3 ± 0.8``."""
    if estimate is None:
        return NOTHING
    if estimate.stderr is None:
        return percent(estimate.mean)
    return f"{percent(estimate.mean)} ± {percent(estimate.stderr)}"


def points(difference: float) -> str:
    """Write a difference of two shares in signed percentage points: ``+1.4``, ``−0.3``.

    It has one decimal, or two decimals if it would be 0 (and have no sign) with one.
    """
    value = 100 * difference
    text = f"{abs(value):.1f}"
    if float(text) == 0:
        text = f"{abs(value):.2f}"
    if float(text) == 0:
        return "0.0"
    return ("+" if value > 0 else MINUS) + text


def interval(bounds: Sequence[float] | None) -> str:
    """Write the interval of a difference in percentage points: ``+0.4 to +2.4``."""
    return NOTHING if bounds is None else f"{points(bounds[0])} to {points(bounds[1])}"


def percent_interval(bounds: Sequence[float] | None) -> str:
    """Write the interval of an accuracy in per cent: ``69.8 to 72.9``."""
    return NOTHING if bounds is None else f"{percent(bounds[0])} to {percent(bounds[1])}"


def result(difference: Estimate) -> str:
    """Say what a difference shows: ``better``, ``worse``, ``the same``, or that there are too few users to tell."""
    if difference.is_same:
        return "the same"
    return "better" if difference.is_gain else "worse" if difference.is_loss else "too few users to tell"


def correlation(value: float) -> str:
    """Write a correlation or cosine: ``+0.42``, ``−0.10``."""
    text = f"{abs(value):.2f}"
    return text if text == "0.00" else f"{MINUS if value < 0 else '+'}{text}"


def count(number: int | None, noun: str = "") -> str:
    """Write a count with thousands separators and, if given, its noun in singular or plural: ``1,200 users``."""
    if number is None:
        return NOTHING
    return f"{number:,} {noun}{'' if number == 1 else 's'}" if noun else f"{number:,}"


def shortened(text: str, length: int) -> str:
    """Shorten a name to `length` characters by leaving out its middle."""
    end = length // 3
    return text if len(text) <= length else f"{text[: length - end - 1]}…{text[-end:]}"


def rank_label(row: RankRow) -> str:
    """Name the model of a rank; the number of directions that training kept is added if it differs from the rank."""
    if row.rank < 2:
        return BASELINES[("reference_head", "bradley_terry")[row.rank]]
    kept = f", {row.fitted_rank} of them kept" if row.fitted_rank not in (None, row.rank) else ""
    return f"personal weights (K = {row.rank}{kept})"


def setting(value: object) -> str:
    """Write the value of a setting: ``not set`` for None, ``yes`` or ``no``, numbers, lists, or JSON."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(setting(item) for item in value) or "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
