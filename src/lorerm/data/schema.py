"""The data contract: which columns one row of input may have, and the comparisons that it becomes."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence
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
from lorerm.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SPLITS = ("train_seen", "test_seen", "train_unseen", "test_unseen")
"""The four splits in the order of every table: train or test prompts, then seen or unseen users."""

TEST_SPLITS = ("test_seen", "test_unseen")
"""The splits that accuracy is measured on."""

UNUSED = "unused"
"""The label of comparisons in no split."""

COLUMNS = ("prompt", "chosen", "rejected", "responses", "choice", "ratings", "prompt_id", "split", "weight")
"""The columns that are read beside the one of the users; others are ignored."""

_SPLITS = {
    **{name: name for name in ("train", "test", *SPLITS, UNUSED)},
    **dict.fromkeys(("validation", "valid", "val", "dev"), "test"),
}

_SAME_TYPE = 'store all responses the same way: strings, or lists of {"role", "content"} messages'


class Comparison(NamedTuple):
    """One comparison in normal form: a user preferred one response to another on a prompt."""

    user_id: str
    prompt_id: str
    prompt: Conversation
    chosen: Conversation
    rejected: Conversation
    split: str | None
    weight: float


class ParsedRow(NamedTuple):
    """The comparisons of one row of the input."""

    comparisons: list[Comparison]
    ties: int
    """comparisons left out because both responses were rated equal or have the same text"""


class Ordering(NamedTuple):
    """Which of several responses a user preferred to which."""

    pairs: list[tuple[int, int]]
    """(better, worse), as indices of the responses"""
    weight: float
    """of each pair; they sum to 1, so that one choice, or one list of ratings, counts as one comparison"""
    ties: int
    """pairs left out because they were rated equal or have the same text"""


def parse_row(record: object, user_column: str = "user_id") -> ParsedRow:
    """Check one row of the input and return its comparisons.

    Parameters
    ----------
    record
        A mapping with the user, `prompt`, and either `chosen` and `rejected` or `responses` with `choice` or
        `ratings`; optionally `prompt_id`, `split` and `weight`.
    user_column
        The key of the user.

    Returns
    -------
    ParsedRow
        One comparison, or those of a choice among several responses or of their ratings (none when all are tied).

    Raises
    ------
    DataError
        The row violates the contract; the error has the column, not yet the row.
    """
    if not isinstance(record, Mapping):
        raise DataError(f"the row is a {type(record).__name__}", "give one object with named columns per row")
    if user_column not in record:
        raise missing_column(
            user_column, record, f'name it "{user_column}", or say with user_column (--user-column) which it is'
        )
    user_id = require_id(record[user_column], user_column)
    if is_missing(record.get("prompt")):
        raise _absent(record, "prompt")
    prompt = _parse(parse_prompt, record["prompt"], "prompt")
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
    """Return the name of a split: `train`, `test` (also for validation), one of the four splits, `unused`, or None.

    Raises
    ------
    DataError
        The name is none of these.
    """
    if is_missing(value) or value == "":
        return None
    name = _SPLITS.get(value.strip().lower()) if isinstance(value, str) else None
    if name is None:
        raise DataError(
            f'column "split" is {value!r:.40}',
            "use train, test or validation, or leave it out to have the data split at random",
            column="split",
        )
    return name


def parse_weight(value: object) -> float:
    """Return the weight of a comparison: a positive finite number; 1 where there is none.

    Raises
    ------
    DataError
        The value is something else.
    """
    if is_missing(value):
        return 1.0
    weight = as_number(value)
    if weight is None or weight <= 0:
        raise DataError(
            f'column "weight" is {describe(value)}',
            "give a positive finite number, or leave it out for 1",
            column="weight",
        )
    return weight


def order_by_choice(responses: Sequence[Hashable], choice: object) -> Ordering:
    """Compare the chosen response with each of the others.

    Parameters
    ----------
    responses
        k responses, k >= 2.
    choice
        The index of the chosen one, from 0.

    Returns
    -------
    Ordering
        k - 1 pairs of weight 1 / (k - 1); fewer and heavier when a response has the text of the chosen one.

    Raises
    ------
    DataError
        The choice is no index of the responses, or there are fewer than two.

    Examples
    --------
    >>> order_by_choice(["a", "b", "c"], 1)
    Ordering(pairs=[(1, 0), (1, 2)], weight=0.5, ties=0)
    """
    _check_number(responses)
    chosen = as_whole_number(choice)
    if chosen is None or not 0 <= chosen < len(responses):
        raise DataError(
            f'column "choice" is {describe(choice)}',
            f"give the index of the chosen response, from 0 to {len(responses) - 1}",
            column="choice",
        )
    return _weigh(responses, [(chosen, other) for other in range(len(responses)) if other != chosen], ties=0)


def order_by_ratings(responses: Sequence[Hashable], ratings: object) -> Ordering:
    """Compare each response with each that is rated lower.

    Parameters
    ----------
    responses
        k responses, k >= 2.
    ratings
        k finite numbers, higher is better.

    Returns
    -------
    Ordering
        All pairs of different rating, with equal weights that sum to 1.

    Raises
    ------
    DataError
        There are not as many finite numbers as responses, or fewer than two responses.

    Examples
    --------
    >>> order_by_ratings(["a", "b", "c"], [3, 5, 3])
    Ordering(pairs=[(1, 0), (1, 2)], weight=0.5, ties=1)
    """
    _check_number(responses)
    given = as_list(ratings) or []
    numbers = [number for number in map(as_number, given) if number is not None]
    if not len(numbers) == len(given) == len(responses):
        raise DataError(
            'column "ratings" does not hold one finite number for each response',
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
    """Return the error for a column that the input does not have; it lists the columns that were found."""
    names = ", ".join(f'"{name}"' for name in found) or "none"
    return DataError(f'there is no column "{column}" (columns found: {names})', remedy, column=column)


def _weigh(responses: Sequence[Hashable], pairs: list[tuple[int, int]], ties: int) -> Ordering:
    """Leave out pairs of equal text, and share the weight 1 among the others."""
    kept = [(better, worse) for better, worse in pairs if responses[better] != responses[worse]]
    return Ordering(kept, 1.0 / len(kept) if kept else 0.0, ties + len(pairs) - len(kept))


def _check_number(responses: Sequence[Hashable]) -> None:
    if len(responses) < 2:
        raise DataError(
            f'column "responses" holds {len(responses)} responses',
            "give all responses that were shown, at least two, or leave the row out",
            column="responses",
        )


def _parse_feedback(record: Mapping[str, object], prompt: Conversation) -> tuple[list[Conversation], Ordering]:
    """Return the responses of a row, and which of them the user preferred to which."""
    has = {column: not is_missing(record.get(column)) for column in ("chosen", "rejected", "responses")}
    if has["responses"] and not has["chosen"] and not has["rejected"]:
        return _parse_several(record, prompt)
    for column in ("chosen", "rejected"):
        if not has[column]:
            raise _absent(record, column)
    values = [record["chosen"], record["rejected"]]
    _check_same_form(values, 'columns "chosen" and "rejected"', "rejected")
    chosen, rejected = (_parse_response(record[column], column, prompt) for column in ("chosen", "rejected"))
    if chosen == rejected:
        raise DataError(
            'columns "chosen" and "rejected" are the same',
            "leave the row out: a tie says nothing about the user",
            column="rejected",
        )
    return [chosen, rejected], Ordering([(0, 1)], 1.0, 0)


def _parse_several(record: Mapping[str, object], prompt: Conversation) -> tuple[list[Conversation], Ordering]:
    """Return several responses, and the order that a choice among them or their ratings gives."""
    values = as_list(record["responses"])
    if values is None:
        raise DataError(
            f'column "responses" is {describe(record["responses"])}',
            "give the list of the responses shown",
            column="responses",
        )
    _check_same_form(values, 'the entries of column "responses"', "responses")
    responses = [
        _parse_response(value, "responses", prompt, f'column "responses", entry {number}')
        for number, value in enumerate(values, 1)
    ]
    keys = [conversation_key(response) for response in responses]
    choice, ratings = record.get("choice"), record.get("ratings")
    if is_missing(choice) == is_missing(ratings):
        both = "neither" if is_missing(choice) else "both"
        raise DataError(
            f'columns "choice" and "ratings": {both} given beside "responses"',
            "give the index of the chosen response, or one number for each response",
            column="choice",
        )
    return responses, order_by_ratings(keys, ratings) if is_missing(choice) else order_by_choice(keys, choice)


def _parse(
    parse: Callable[[object, str], Conversation], value: object, column: str, name: str | None = None
) -> Conversation:
    """Parse the messages of a column, and give an error its column."""
    try:
        return parse(value, name or f'column "{column}"')
    except DataError as error:
        raise DataError(error.problem, error.remedy, column=column) from error


def _parse_response(value: object, column: str, prompt: Conversation, name: str | None = None) -> Conversation:
    """Parse a response, which may not begin by repeating the prompt."""
    name = name or f'column "{column}"'
    response = _parse(parse_response, value, column, name)
    if response[: len(prompt)] == prompt:
        raise DataError(
            f"{name} repeats the turns of the prompt",
            "keep in it only what follows the prompt",
            column=column,
        )
    return response


def _check_same_form(values: list[object], names: str, column: str) -> None:
    """Refuse responses of which some are strings and some lists, or some the printed form of a list.

    A published pipeline stored one side as strings and the other as printed lists: the brackets showed the chosen one.
    """
    are_strings = [isinstance(value, str) for value in values]
    if any(are_strings) and any(as_list(value) is not None for value in values):
        raise DataError(f"{names} are mixed, a string and a list", _SAME_TYPE, column=column)
    if all(are_strings):
        printed = [is_stringified_list(str(value)) for value in values]
        if any(printed) and not all(printed):
            raise DataError(f"{names} are mixed, a string and the printed form of a list", _SAME_TYPE, column=column)


def _absent(record: Mapping[str, object], column: str) -> DataError:
    """Return the error for a column that the row does not have, or that is null in it."""
    if column in record:
        return DataError(f'column "{column}" is missing', "fill it, or leave the row out", column=column)
    other = ', or give "responses" with "choice" or "ratings"' if column == "chosen" else ""
    return missing_column(column, record, f'name it "{column}"{other}')
