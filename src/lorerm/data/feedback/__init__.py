"""Kinds of feedback that a row can hold: one module for each kind, and the registry of these modules."""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lorerm.data.feedback.kind import Kind

KINDS: Mapping[str, str] = {
    "a choice among several responses, or ratings": "lorerm.data.feedback.several",
    "one response preferred to another": "lorerm.data.feedback.pair",
}
"""Kind of feedback -> its module, with the constant `KIND`. The first kind that recognises a row reads the row."""

COMMON = ("prompt", "prompt_id", "split", "weight")
"""The columns that rows of every kind of feedback can have, beside the column with the users."""

# Names that columns with feedback, or with a part of the prompt, have in other tools, without digits and punctuation.
_OTHER_NAMES = frozenset(
    (
        "chosenrating",
        "chosenscore",
        "chosenreward",
        "completion",
        "completions",
        "confidence",
        "conversation",
        "conversations",
        "feedback",
        "history",
        "images",
        "istie",
        "label",
        "labels",
        "margin",
        "messages",
        "overallpreference",
        "preference",
        "preferences",
        "rank",
        "ranking",
        "rankings",
        "ranks",
        "rating",
        "ratingchosen",
        "ratingrejected",
        "rejectedrating",
        "rejectedreward",
        "rejectedscore",
        "response",
        "responsea",
        "responseb",
        "reward",
        "rewards",
        "score",
        "scorechosen",
        "scorerejected",
        "scores",
        "stars",
        "strength",
        "system",
        "systemprompt",
        "thumb",
        "thumbs",
        "tie",
        "tools",
        "vote",
        "votes",
        "winner",
    )
)


def all_kinds() -> list[Kind]:
    """Return all kinds of feedback, in the order of the registry."""
    return [import_module(module).KIND for module in KINDS.values()]


def find_kind(record: Mapping[str, object]) -> Kind:
    """Return the kind of feedback that a row holds.

    If no kind recognises the row, return the last one. Its `parse` raises the error that says what is missing.
    """
    kinds = all_kinds()
    return next((kind for kind in kinds if kind.recognises(record)), kinds[-1])


def known_columns(user_column: str) -> frozenset[str]:
    """Return the names of all columns that are read."""
    return frozenset((user_column, *COMMON, *(column for kind in all_kinds() for column in kind.columns)))


@cache
def looks_like_feedback(column: str) -> bool:
    """Return True if a column has the name of a column that is read, or of a column with feedback in other tools.

    Case, digits and punctuation are disregarded.

    Examples
    --------
    >>> looks_like_feedback("margin"), looks_like_feedback("chosen.1"), looks_like_feedback("created_at")
    (True, True, False)
    """
    name = re.sub(r"[\W\d_]", "", str(column).lower())
    return name in _OTHER_NAMES or name in {re.sub(r"\W|_", "", known) for known in known_columns("user_id")}
