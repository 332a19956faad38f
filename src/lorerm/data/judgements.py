"""Judgements of several responses, a choice or ratings, as weighted pairs."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lorerm.data.values import as_list, as_number, as_whole_number
from lorerm.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence


class JudgedPairs(NamedTuple):
    """The pairs of one judgement."""

    pairs: list[tuple[int, int]]
    """(better, worse), as positions in the responses"""
    weight: float
    """of each pair: together they weigh 1, so that one judgement counts once"""
    ties: int
    """pairs left out because they were rated equal or are the same text"""


def pairs_of_choice(responses: Sequence[Hashable], choice: object) -> JudgedPairs:
    """Pair the chosen response with each of the others.

    Parameters
    ----------
    responses
        k responses, k >= 2.
    choice
        The position of the chosen one, from 0.

    Returns
    -------
    JudgedPairs
        k - 1 pairs of weight 1 / (k - 1), fewer and heavier when a response is the same as the chosen one.

    Raises
    ------
    DataError
        The choice is no position in the responses, or there are fewer than two.

    Examples
    --------
    >>> pairs_of_choice(["a", "b", "c"], 1)
    JudgedPairs(pairs=[(1, 0), (1, 2)], weight=0.5, ties=0)
    """
    _check_number(responses)
    position = as_whole_number(choice)
    if position is None or not 0 <= position < len(responses):
        raise DataError(
            f'column "choice" is {choice!r:.40}',
            f"give the position of the chosen response, from 0 to {len(responses) - 1}",
        )
    better_worse = [(position, other) for other in range(len(responses)) if other != position]
    return _weighed(responses, better_worse, ties=0)


def pairs_of_ratings(responses: Sequence[Hashable], ratings: object) -> JudgedPairs:
    """Pair each response with each that is rated lower.

    Parameters
    ----------
    responses
        k responses, k >= 2.
    ratings
        k finite numbers, higher is better.

    Returns
    -------
    JudgedPairs
        All pairs of different rating, with equal weights that sum to 1.

    Raises
    ------
    DataError
        There are not as many finite numbers as responses, or fewer than two responses.

    Examples
    --------
    >>> pairs_of_ratings(["a", "b", "c"], [3, 5, 3])
    JudgedPairs(pairs=[(1, 0), (1, 2)], weight=0.5, ties=1)
    """
    _check_number(responses)
    values = [as_number(rating) for rating in as_list(ratings) or []]
    if len(values) != len(responses) or None in values:
        raise DataError(
            'column "ratings" does not hold one finite number for each response',
            f"give a list of {len(responses)} numbers, or leave out what was not rated",
        )
    numbers = np.array(values, dtype=np.float64)
    better_worse, ties = [], 0
    for left, right in combinations(range(len(numbers)), 2):
        if numbers[left] == numbers[right]:
            ties += 1
        else:
            better_worse.append((left, right) if numbers[left] > numbers[right] else (right, left))
    return _weighed(responses, better_worse, ties)


def _weighed(responses: Sequence[Hashable], better_worse: list[tuple[int, int]], ties: int) -> JudgedPairs:
    """Leave out pairs of the same text, and share the weight 1 among the others."""
    pairs = [(better, worse) for better, worse in better_worse if responses[better] != responses[worse]]
    ties += len(better_worse) - len(pairs)
    return JudgedPairs(pairs, 1.0 / len(pairs) if pairs else 0.0, ties)


def _check_number(responses: Sequence[Hashable]) -> None:
    """Refuse a judgement of fewer than two responses."""
    if len(responses) < 2:
        raise DataError(
            f'column "responses" holds {len(responses)} of the at least two responses that a judgement compares',
            "give all responses that were shown, or leave the row out",
        )
