"""The rules for input rows: which columns a row may have, and which comparisons it becomes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from lorerm.data.coercion import as_list, as_number, as_whole_number, describe, is_missing
from lorerm.data.conversation import (
    Conversation,
    conversation_key,
    is_stringified_list,
    parse_prompt,
    parse_response,
)
from lorerm.data.ids import parse_id, require_id
from lorerm.data.weights import LARGEST_WEIGHT, SMALLEST_WEIGHT
from lorerm.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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

COLUMNS = ("prompt", "chosen", "rejected", "responses", "choice", "ratings", "prompt_id", "split", "weight")
"""The columns that are read in addition to the column with the users; other columns are ignored."""

# Split label in the input (lower case) -> its standard name.
_SPLITS = {
    **{name: name for name in ("train", "test", *SPLITS, UNUSED)},
    **dict.fromkeys(("validation", "valid", "val", "dev"), "test"),
}

_SAME_FORM = 'store all responses the same way: strings, or lists of {"role", "content"} messages'


class Comparison(NamedTuple):
    """One comparison: a user preferred one response to another on a prompt."""

    user_id: str
    prompt_id: str
    prompt: Conversation
    chosen: Conversation
    rejected: Conversation
    split: str | None
    weight: float


class ParsedRow(NamedTuple):
    """The comparisons that one row of the input becomes."""

    comparisons: list[Comparison]
    ties: int
    """number of pairs of responses that gave no comparison because their ratings or their texts are equal"""


class Ordering(NamedTuple):
    """A user's preferences among several responses, as pairs of responses."""

    pairs: list[tuple[int, int]]
    """(index of the better response, index of the worse response)"""
    weight: float
    """the weight of each pair; the weights sum to 1, so that a choice or a list of ratings counts as one comparison"""
    ties: int
    """number of pairs left out because their ratings or their texts are equal"""


def parse_row(record: object, user_column: str = "user_id") -> ParsedRow:
    """Check one row of the input and return the comparisons that it becomes (none if all responses are tied).

    A row is a mapping with these columns:

    - the user, under the name `user_column`
    - `prompt`
    - either `chosen` and `rejected`, or `responses` with `choice` or `ratings`
    - optional: `prompt_id`, `split`, `weight`

    Raises `DataError` if the row is not valid. The error has the column; the caller adds the row.
    """
    if not isinstance(record, Mapping):
        raise DataError(f"the row is a {type(record).__name__}", "give one object with named columns per row")
    if user_column not in record:
        raise missing_column(
            user_column,
            record,
            f'name the column with the users "{user_column}", or give its name with user_column (--user-column)',
        )
    user_id = require_id(record[user_column], user_column)
    with _in_column("prompt"):
        prompt = parse_prompt(_required(record, "prompt"), 'column "prompt"')
    prompt_id = parse_id(record.get("prompt_id"), "prompt_id")
    if prompt_id is None:
        prompt_id = hashlib.sha256(conversation_key(prompt).encode()).hexdigest()[:16]
    split = parse_split(record.get("split"))
    weight = parse_weight(record.get("weight"))
    responses, ordering = _parse_feedback(record, prompt)
    comparisons = [
        Comparison(user_id, prompt_id, prompt, responses[better], responses[worse], split, weight * ordering.weight)
        for better, worse in ordering.pairs
    ]
    return ParsedRow(comparisons, ordering.ties)


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
    weight = as_number(value)
    if weight is None or not SMALLEST_WEIGHT <= weight <= LARGEST_WEIGHT:
        raise DataError(
            f'column "weight" is {describe(value)}',
            f"give a number from {SMALLEST_WEIGHT:g} to {LARGEST_WEIGHT:g}, or leave the value out for a weight of 1",
            column="weight",
        )
    return weight


def order_by_choice(responses: Sequence[str], choice: object) -> Ordering:
    """Compare the chosen response with each other response. There are at least two; `choice` is an index, from 0.

    Examples
    --------
    >>> order_by_choice(["a", "b", "c"], 1)
    Ordering(pairs=[(1, 0), (1, 2)], weight=0.5, ties=0)
    """
    chosen = as_whole_number(choice)
    if chosen is None or not 0 <= chosen < len(responses):
        raise DataError(
            f'column "choice" is {describe(choice)}',
            f"give the index of the chosen response, from 0 to {len(responses) - 1}",
            column="choice",
        )
    return _weigh(responses, [(chosen, other) for other in range(len(responses)) if other != chosen], ties=0)


def order_by_ratings(responses: Sequence[str], ratings: object) -> Ordering:
    """Compare each response with each lower-rated response. `ratings` has one finite number for each response.

    Examples
    --------
    >>> order_by_ratings(["a", "b", "c"], [3, 5, 3])
    Ordering(pairs=[(1, 0), (1, 2)], weight=0.5, ties=1)
    """
    given = as_list(ratings) or []
    numbers = [number for number in map(as_number, given) if number is not None]
    if not len(numbers) == len(given) == len(responses):
        raise DataError(
            'column "ratings" does not have one finite number for each response',
            f"give a list of {len(responses)} numbers, or leave out the responses that were not rated",
            column="ratings",
        )
    pairs, ties = [], 0
    for left, right in combinations(range(len(numbers)), 2):
        if numbers[left] == numbers[right]:
            ties += 1
        else:
            pairs.append((left, right) if numbers[left] > numbers[right] else (right, left))
    return _weigh(responses, pairs, ties)


def missing_column(column: str, found: Iterable[object], remedy: str) -> DataError:
    """Return the error for a column that the input does not have. The error lists the columns that were found."""
    names = ", ".join(f'"{name}"' for name in found) or "none"
    return DataError(f'there is no column "{column}" (columns found: {names})', remedy, column=column)


def _weigh(responses: Sequence[str], pairs: list[tuple[int, int]], ties: int) -> Ordering:
    """Leave out pairs of responses with equal texts; give the other pairs equal weights that sum to 1."""
    kept = [(better, worse) for better, worse in pairs if responses[better] != responses[worse]]
    return Ordering(kept, 1.0 / len(kept) if kept else 0.0, ties + len(pairs) - len(kept))


def _parse_feedback(record: Mapping[str, object], prompt: Conversation) -> tuple[list[Conversation], Ordering]:
    """Return the responses in a row, and the user's preferences among them."""
    given = [column for column in ("chosen", "rejected", "responses") if not is_missing(record.get(column))]
    if given == ["responses"]:
        return _parse_several(record, prompt)
    values = {column: _required(record, column) for column in ("chosen", "rejected")}
    _check_same_form([*values.values()], 'columns "chosen" and "rejected"', "rejected")
    chosen, rejected = (
        _parse_response(value, column, f'column "{column}"', prompt) for column, value in values.items()
    )
    if chosen == rejected:
        raise DataError(
            'columns "chosen" and "rejected" have the same text',
            "leave the row out, since it shows no preference",
            column="rejected",
        )
    return [chosen, rejected], Ordering([(0, 1)], 1.0, 0)


def _parse_several(record: Mapping[str, object], prompt: Conversation) -> tuple[list[Conversation], Ordering]:
    """Return the entries of the column `responses`, and the preferences that `choice` or `ratings` gives."""
    values = as_list(record["responses"])
    if values is None or len(values) < 2:
        found = f"is {describe(record['responses'])}" if values is None else f"has {len(values)} responses"
        raise DataError(
            f'column "responses" {found}',
            "give the list of all responses that were shown, at least two, or leave the row out",
            column="responses",
        )
    _check_same_form(values, 'the entries of column "responses"', "responses")
    responses = [
        _parse_response(value, "responses", f'column "responses", entry {number}', prompt)
        for number, value in enumerate(values, 1)
    ]
    keys = [conversation_key(response) for response in responses]
    choice, ratings = record.get("choice"), record.get("ratings")
    if is_missing(choice) == is_missing(ratings):
        found = 'neither "choice" nor "ratings"' if is_missing(choice) else 'both "choice" and "ratings"'
        raise DataError(
            f'the row has "responses" with {found}',
            'give either the index of the chosen response ("choice") or one number for each response ("ratings")',
            column="choice",
        )
    return responses, order_by_ratings(keys, ratings) if is_missing(choice) else order_by_choice(keys, choice)


@contextmanager
def _in_column(column: str) -> Iterator[None]:
    """Add the column to any `DataError` raised inside the block."""
    try:
        yield
    except DataError as error:
        raise DataError(error.problem, error.remedy, column=column) from error


def _parse_response(value: object, column: str, name: str, prompt: Conversation) -> Conversation:
    """Parse a response and check that it does not begin with the prompt; `name` describes the response in errors."""
    with _in_column(column):
        response = parse_response(value, name)
    if response[: len(prompt)] == prompt:
        raise DataError(
            f"{name} repeats the turns of the prompt", "give only the turns that follow the prompt", column=column
        )
    return response


def _check_same_form(values: list[object], names: str, column: str) -> None:
    """Raise `DataError` if only some of the responses are strings, or only some are the printed form of a list.

    One published data set stores chosen responses as strings and rejected ones as printed lists, so that the brackets
    reveal which response was chosen.
    """
    are_strings = [isinstance(value, str) for value in values]
    if any(are_strings) and any(as_list(value) is not None for value in values):
        raise DataError(f"{names} are mixed, a string and a list", _SAME_FORM, column=column)
    if all(are_strings) and len({is_stringified_list(str(value)) for value in values}) > 1:
        raise DataError(f"{names} are mixed, a string and the printed form of a list", _SAME_FORM, column=column)


def _required(record: Mapping[str, object], column: str) -> object:
    """Return the value of a column. Raises `DataError` if the row has no such column, or its value is null."""
    if column not in record:
        other = ', or give "responses" with "choice" or "ratings"' if column == "chosen" else ""
        raise missing_column(column, record, f'add it, or rename the matching column to "{column}"{other}')
    if is_missing(record[column]):
        raise DataError(f'column "{column}" has no value', "give a value, or leave the row out", column=column)
    return record[column]
