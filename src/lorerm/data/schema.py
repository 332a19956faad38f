"""What a comparison is, and the values that the columns `split` and `weight` may have."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lorerm.data.coercion import describe, is_missing
from lorerm.data.printed import number_in
from lorerm.data.weights import LARGEST_WEIGHT, SMALLEST_WEIGHT
from lorerm.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lorerm.data.conversation import Conversation

SPLITS = ("train_seen", "test_seen", "train_unseen", "test_unseen")
"""The names of the four splits (train or test prompts, seen or unseen users), in the order in which they are listed."""

SPLIT_NAMES = {
    "train_seen": "seen users, train prompts",
    "test_seen": "seen users, test prompts",
    "train_unseen": "unseen users, few-shot prompts",
    "test_unseen": "unseen users, test prompts",
}
"""Name of each split -> its description."""

TEST_SPLITS = ("test_seen", "test_unseen")
"""The splits on which accuracy is measured."""

UNUSED = "unused"
"""The label of comparisons that are in no split."""

# Split label in the input (lower case) -> its standard name.
_SPLITS = {
    **{name: name for name in ("train", "test", *SPLITS, UNUSED)},
    **dict.fromkeys(("validation", "valid", "val", "dev"), "test"),
}


class Comparison(NamedTuple):
    """One comparison: a user preferred one response to another on a prompt."""

    user_id: str
    prompt_id: str
    prompt: Conversation
    chosen: Conversation
    rejected: Conversation
    split: str | None
    weight: float


def parse_split(value: object) -> str | None:
    """Return the standard name of a split label: `train`, `test`, one of the four splits, or `unused`.

    Validation counts as test. Return None if the value is missing or empty.
    """
    if is_missing(value) or value == "":
        return None
    name = _SPLITS.get(value.strip().lower()) if isinstance(value, str) else None
    if name is None:
        raise DataError(
            f'column "split" is {value!r:.40}',
            "use train, test or validation, or leave the column out to split the data at random",
            column="split",
        )
    return name


def parse_weight(value: object) -> float:
    """Return the weight of a comparison, a positive number of a usable size. Return 1 if the value is missing."""
    if is_missing(value):
        return 1.0
    weight = number_in(value)
    if weight is None or not SMALLEST_WEIGHT <= weight <= LARGEST_WEIGHT:
        raise DataError(
            f'column "weight" is {describe(value)}',
            f"give a number from {SMALLEST_WEIGHT:g} to {LARGEST_WEIGHT:g}, or leave the value out for a weight of 1",
            column="weight",
        )
    return weight


def missing_column(column: str, found: Iterable[object], remedy: str) -> DataError:
    """Return the error for a column that the input does not have. The error lists the columns that were found."""
    names = ", ".join(f'"{name}"' for name in found) or "none"
    return DataError(f'there is no column "{column}" (columns found: {names})', remedy, column=column)
