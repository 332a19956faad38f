"""`Kind`, the interface of a kind of feedback, and functions that read the prompt and the responses of a row."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from lorerm.data.account import Account, Fact
from lorerm.data.coercion import as_list, is_missing
from lorerm.data.conversation import Conversation, parse_prompt, parse_response
from lorerm.data.printed import holds_chat_roles, is_json, is_list_of_strings, messages_in
from lorerm.data.schema import missing_column
from lorerm.errors import DataError

_SAME_FORM = 'store all responses the same way: strings, or lists of {"role", "content"} messages'

# The beginning of a dialogue that is written as one text: "Human:", "### User:", or a speaker mark of a chat template.
_DIALOGUE = re.compile(
    r"\s*(?:(?:#+\s*)?(?:human|user)\s*:|<\|im_start\|>|<\|start_header_id\|>|<start_of_turn>|\[INST\])", re.IGNORECASE
)

# Responses are not searched for prompts of fewer words than this: the response to "Hello" can begin with "Hello".
_MIN_WORDS_REPEATED = 3


class Ordering(NamedTuple):
    """A user's preferences among several responses, as pairs of responses."""

    pairs: list[tuple[int, int]]
    """(index of the better response, index of the worse response)"""
    weight: float
    """the weight of each pair; the weights sum to 1, so that a choice or a list of ratings counts as one comparison"""
    ties: int
    """number of pairs left out because their ratings or their texts are equal"""


class Judged(NamedTuple):
    """Content of a row: a prompt, responses to it, and the user's preferences among the responses."""

    prompt: Conversation
    responses: list[Conversation]
    ordering: Ordering


@dataclass(frozen=True)
class Kind:
    """A kind of feedback. Each module of this package defines one in its constant `KIND`."""

    columns: tuple[str, ...]
    """names of the columns that only rows of this kind have"""
    recognises: Callable[[Mapping[str, object]], bool]
    """returns True if a row holds feedback of this kind"""
    parse: Callable[[Mapping[str, object], Account], Judged]
    """checks a row and returns its content; counts what is left out. Raises `DataError` with the column"""


def read_prompt(record: Mapping[str, object], account: Account) -> Conversation:
    """Return the prompt of a row, from the column `prompt`."""
    value = required(record, "prompt")
    with in_column("prompt"):
        _note_form(value, "prompt", 'column "prompt"', account)
        return parse_prompt(value, 'column "prompt"')


def read_responses(
    values: Mapping[str, object], prompt: Conversation, names: str, columns: Sequence[str], account: Account
) -> list[Conversation]:
    """Return the responses of a row.

    Parameters
    ----------
    values
        Mapping from a description of each response (used in error messages) to its value.
    prompt
        The prompt to which the responses reply.
    names
        Description of all responses together, for errors.
    columns
        The column of each response.
    account
        Account in which the forms of the values are counted.

    Raises
    ------
    DataError
        A value is not a response, or only some of the values are texts. (A chat template renders a text and a list of
        messages differently, so that a model would learn the form.)
    """
    forms = []
    for (name, value), column in zip(values.items(), columns, strict=True):
        with in_column(column):
            forms.append(_note_form(value, column, name, account))
    if True in forms and False in forms:
        remedy = _SAME_FORM
        if all(isinstance(value, str) for value in values.values()):
            remedy += (
                "; if a response really is the text of a printed list of messages, store every response as a list of "
                "one message, with its text as the content"
            )
        raise DataError(f"{names} have different forms, a string and a list", remedy, column=columns[-1])
    responses = []
    for (name, value), column in zip(values.items(), columns, strict=True):
        with in_column(column):
            response = parse_response(value, name)
        if not response[-1]["content"].strip():
            account.note(Fact.EMPTY, column)
        if isinstance(value, str) and _begins_with(response[0]["content"], prompt[-1]["content"]):
            account.note(Fact.REPEATS_PROMPT, column)
        responses.append(response)
    return responses


def required(record: Mapping[str, object], column: str) -> object:
    """Return the value of a column. Raises `DataError` if the row has no such column, or its value is null."""
    if column not in record:
        other = ', or give "responses" with "choice" or "ratings"' if column == "chosen" else ""
        raise missing_column(column, record, f'add it, or rename the matching column to "{column}"{other}')
    if is_missing(record[column]):
        remedy = "give a value, or leave the row out"
        if column in ("chosen", "rejected"):
            remedy += ' (a response without text is "" in JSON, and [{"role": "assistant", "content": ""}] in CSV)'
        raise DataError(f'column "{column}" has no value', remedy, column=column)
    return record[column]


@contextmanager
def in_column(column: str) -> Iterator[None]:
    """Add the column to any `DataError` raised inside the block."""
    try:
        yield
    except DataError as error:
        raise DataError(error.problem, error.remedy, column=column) from error


def _note_form(value: object, column: str, name: str, account: Account) -> bool | None:
    """Count the form of a value. Return True for a text, False for messages, None for anything else."""
    messages = as_list(value)
    if isinstance(value, str):
        messages = as_list(messages_in(value, name))
        if messages is None:
            _note_text(value, column, account)
            return True
        account.note(Fact.READ_AS_MESSAGES, column)
    if messages is None:
        return None
    for message in messages:
        if isinstance(message, dict):
            for key in message.keys() - {"role", "content"}:
                if not is_missing(message[key]):
                    account.note(Fact.UNUSED_KEY, str(key))
    return False


def _note_text(text: str, column: str, account: Account) -> None:
    account.note(Fact.TEXT, column)
    if is_list_of_strings(text):
        account.note(Fact.LIST, column)
        if not is_json(text):
            account.note(Fact.PYTHON_LIST, column)
    elif holds_chat_roles(text):
        account.note(Fact.HOLDS_ROLES, column)


def _begins_with(response: str, prompt: str) -> bool:
    """Return True if a response begins with a speaker mark, or repeats the whole prompt at its beginning.

    Only prompts of at least `_MIN_WORDS_REPEATED` words are searched for.
    """
    if _DIALOGUE.match(response):
        return True
    words = prompt.split(None, _MIN_WORDS_REPEATED)
    if len(words) < _MIN_WORDS_REPEATED or response.split(None, 1)[:1] != words[:1]:
        return False
    return " ".join(response.split()).startswith(" ".join(prompt.split()))
