"""The data contract of one row: what it may hold, and the pairs it stands for."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from lorerm.data.conversation import (
    Conversation,
    conversation_key,
    is_stringified_list,
    parse_prompt,
    parse_response,
)
from lorerm.data.judgements import JudgedPairs, pairs_of_choice, pairs_of_ratings
from lorerm.data.values import as_list, as_number, as_whole_number, is_list, is_missing
from lorerm.errors import DataError

CELLS = ("train_seen", "test_seen", "train_unseen", "test_unseen")
"""The four cells of a split: the side of the prompts, then the side of the users."""

UNUSED = "unused"
"""The label of pairs that stand in no cell."""

COLUMNS = ("prompt", "chosen", "rejected", "responses", "choice", "ratings", "prompt_id", "split", "weight")
"""The columns that are read, beside the one of the users; others are ignored."""

_SPLITS = {
    **{name: name for name in ("train", "test", *CELLS, UNUSED)},
    **dict.fromkeys(("validation", "valid", "val", "dev"), "test"),
}

_SAME_TYPE = 'store both sides the same way: two strings, or two lists of {"role", "content"} messages'


class Pair(NamedTuple):
    """One comparison in normal form."""

    user_id: str
    prompt_id: str
    prompt: Conversation
    chosen: Conversation
    rejected: Conversation
    split: str | None
    weight: float


class ParsedRow(NamedTuple):
    """What one row of the input stands for."""

    pairs: list[Pair]
    ties: int


def parse_row(record: object, user_column: str = "user_id") -> ParsedRow:
    """Check one row of the input and bring it into normal form.

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
        One pair, or those of a judgement of several responses (none when all are tied).

    Raises
    ------
    DataError
        The row does not keep the contract; the message names the column, not the row.
    """
    if not isinstance(record, Mapping):
        raise DataError(f"it is a {type(record).__name__}", "give one object with named columns per row")
    user_id = parse_user(record, user_column)
    if is_missing(record.get("prompt")):
        raise _lacks(record, "prompt")
    prompt = parse_prompt(record["prompt"], 'column "prompt"')
    prompt_id = _parse_id(record.get("prompt_id"), "prompt_id")
    if prompt_id is None:
        prompt_id = hashlib.sha256(conversation_key(prompt).encode()).hexdigest()[:16]
    split = parse_split(record.get("split"))
    weight = _parse_weight(record.get("weight"))
    responses, judged = _parse_judgement(record, prompt)
    pairs = [
        Pair(user_id, prompt_id, prompt, responses[better], responses[worse], split, weight * judged.weight)
        for better, worse in judged.pairs
    ]
    return ParsedRow(pairs, judged.ties)


def parse_split(value: object) -> str | None:
    """Read the name of a split: `train` or `test` (which validation counts as), one of the cells, or None.

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
            f'column "split" is {value!r:.40}', "use train, test or validation, or leave it out to be split by seed"
        )
    return name


def parse_user(record: Mapping[str, object], column: str) -> str:
    """Read the user of a row, whom every row must name.

    Raises
    ------
    DataError
        The column is missing or empty, or holds neither a string nor a whole number.
    """
    if column not in record:
        raise _lacks(record, column)
    user_id = _parse_id(record[column], column)
    if user_id is None:
        raise DataError(f'column "{column}" is empty', "name the user, or leave the row out")
    return user_id


def _parse_id(value: object, column: str) -> str | None:
    """Read an identifier: a string or a whole number; None when there is none."""
    if isinstance(value, str):
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise DataError(
                    f'column "{column}" holds a lone surrogate, which no file can', "repair the text's encoding"
                ) from None
        return value if value.strip() else None
    if is_missing(value):
        return None
    number = as_whole_number(value)
    if number is None:
        raise DataError(f'column "{column}" is {value!r:.40}', "give a string or a whole number")
    return str(number)


def _parse_weight(value: object) -> float:
    """Read the weight of a row, 1 when there is none."""
    if is_missing(value):
        return 1.0
    weight = as_number(value)
    if weight is None or weight <= 0:
        raise DataError(f'column "weight" is {value!r:.40}', "give a positive finite number, or leave it out for 1")
    return weight


def _parse_judgement(record: Mapping[str, object], prompt: Conversation) -> tuple[list[Conversation], JudgedPairs]:
    """Read the responses and which of them are better than which."""
    has_pair = [not is_missing(record.get(column)) for column in ("chosen", "rejected")]
    if not any(has_pair) and not is_missing(record.get("responses")):
        return _parse_judged_responses(record, prompt)
    for column, has in zip(("chosen", "rejected"), has_pair, strict=True):
        if not has:
            raise _lacks(record, column)
    names = ['column "chosen"', 'column "rejected"']
    values = [record["chosen"], record["rejected"]]
    _check_same_form(values, 'columns "chosen" and "rejected"')
    responses = _parse_responses(values, names, prompt)
    if responses[0] == responses[1]:
        raise DataError(
            'columns "chosen" and "rejected" are the same', "leave the row out: a tie says nothing about the user"
        )
    return responses, JudgedPairs([(0, 1)], 1.0, 0)


def _parse_judged_responses(
    record: Mapping[str, object], prompt: Conversation
) -> tuple[list[Conversation], JudgedPairs]:
    """Read a choice among several responses, or their ratings."""
    values = as_list(record["responses"])
    if values is None:
        raise DataError(
            f'column "responses" is a {type(record["responses"]).__name__}', "give the list of the responses shown"
        )
    _check_same_form(values, 'the entries of column "responses"')
    names = [f'column "responses", entry {number}' for number in range(1, len(values) + 1)]
    responses = _parse_responses(values, names, prompt)
    keys = [conversation_key(response) for response in responses]
    choice, ratings = record.get("choice"), record.get("ratings")
    if is_missing(choice) == is_missing(ratings):
        both = "neither" if is_missing(choice) else "both"
        raise DataError(
            f'columns "choice" and "ratings": {both} given beside "responses"',
            "give the position of the chosen response, or one number for each response",
        )
    return responses, pairs_of_ratings(keys, ratings) if is_missing(choice) else pairs_of_choice(keys, choice)


def _parse_responses(values: list[object], names: list[str], prompt: Conversation) -> list[Conversation]:
    """Read responses, none of which may begin by repeating the prompt."""
    responses = [parse_response(value, name) for value, name in zip(values, names, strict=True)]
    for response, name in zip(responses, names, strict=True):
        if response[: len(prompt)] == prompt:
            raise DataError(f"{name} repeats the turns of the prompt", "keep in it only what follows the prompt")
    return responses


def _check_same_form(values: list[object], names: str) -> None:
    """Refuse responses of which some are strings and some lists, or some the printed form of a list."""
    are_strings = [isinstance(value, str) for value in values]
    if any(are_strings) and any(is_list(value) for value in values):
        raise DataError(f"{names} are mixed, a string and a list", _SAME_TYPE)
    if all(are_strings):
        printed = [is_stringified_list(str(value)) for value in values]
        if any(printed) and not all(printed):
            raise DataError(f"{names} are mixed, a string and the printed form of a list", _SAME_TYPE)


def _lacks(record: Mapping[str, object], column: str) -> DataError:
    """Make the error for a column that is absent, or empty in this row."""
    if column in record:
        return DataError(f'column "{column}" is missing', "fill it, or leave the row out")
    found = ", ".join(f'"{name}"' for name in record) or "none"
    alternative = {
        "prompt": "",
        "chosen": ', or "responses" with "choice" or "ratings"',
        "rejected": "",
    }.get(column, ", or say with user_column (--user-column) which column names the user")
    return DataError(f'there is no column "{column}" (columns found: {found})', f'name it "{column}"{alternative}')
