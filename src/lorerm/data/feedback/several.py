"""A choice among several responses, or a rating of each: the columns `responses` with `choice` or `ratings`."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from lorerm.data.coercion import as_whole_number, describe, is_missing
from lorerm.data.conversation import conversation_key
from lorerm.data.feedback.kind import Judged, Kind, Ordering, read_prompt, read_responses
from lorerm.data.printed import list_in, number_in
from lorerm.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lorerm.data.account import Account


def order_by_choice(responses: Sequence[str], choice: object) -> Ordering:
    """Compare the chosen one of k >= 2 responses with each other response. `choice` is its index, from 0.

    Examples
    --------
    >>> order_by_choice(["a", "b", "c"], 1)
    Ordering(pairs=[(1, 0), (1, 2)], weight=0.5, ties=0)
    """
    chosen = as_whole_number(number_in(choice))
    if chosen is None or not 0 <= chosen < len(responses):
        raise DataError(
            f'column "choice" is {describe(choice)}',
            f"give the index of the chosen response, from 0 to {len(responses) - 1}",
            column="choice",
        )
    return _weigh(responses, [(chosen, other) for other in range(len(responses)) if other != chosen], ties=0)


def order_by_ratings(responses: Sequence[str], ratings: object) -> Ordering:
    """Compare each of k >= 2 responses with each lower-rated response; `ratings` are k finite numbers.

    Examples
    --------
    >>> order_by_ratings(["a", "b", "c"], [3, 5, 3])
    Ordering(pairs=[(1, 0), (1, 2)], weight=0.5, ties=1)
    """
    given = list_in(ratings) or []
    numbers = [number for number in map(number_in, given) if number is not None]
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


def _recognises(record: Mapping[str, object]) -> bool:
    return [column for column in ("chosen", "rejected", "responses") if not is_missing(record.get(column))] == [
        "responses"
    ]


def _parse(record: Mapping[str, object], account: Account) -> Judged:
    prompt = read_prompt(record, account)
    values = list_in(record["responses"])
    if values is None or len(values) < 2:
        found = f"is {describe(record['responses'])}" if values is None else f"has {len(values)} responses"
        raise DataError(
            f'column "responses" {found}',
            "give the list of all responses that were shown, at least two, or leave the row out",
            column="responses",
        )
    named = {f'column "responses", entry {number}': value for number, value in enumerate(values, 1)}
    responses = read_responses(named, prompt, 'the entries of column "responses"', ["responses"] * len(values), account)
    keys = [conversation_key(response) for response in responses]
    choice, ratings = record.get("choice"), record.get("ratings")
    if is_missing(choice) == is_missing(ratings):
        found = 'neither "choice" nor "ratings"' if is_missing(choice) else 'both "choice" and "ratings"'
        raise DataError(
            f'the row has "responses" with {found}',
            'give either the index of the chosen response ("choice") or one number for each response ("ratings")',
            column="choice",
        )
    ordering = order_by_ratings(keys, ratings) if is_missing(choice) else order_by_choice(keys, choice)
    return Judged(prompt, responses, ordering)


def _weigh(responses: Sequence[str], pairs: list[tuple[int, int]], ties: int) -> Ordering:
    """Leave out pairs of responses with equal texts; give the other pairs equal weights that sum to 1."""
    kept = [(better, worse) for better, worse in pairs if responses[better] != responses[worse]]
    return Ordering(kept, 1.0 / len(kept) if kept else 0.0, ties + len(pairs) - len(kept))


KIND = Kind(("responses", "choice", "ratings"), _recognises, _parse)
