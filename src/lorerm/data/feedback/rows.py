"""Check one row of the input, and convert it to comparisons."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lorerm.data.account import Account, Fact
from lorerm.data.coercion import is_missing
from lorerm.data.conversation import Message, conversation_key
from lorerm.data.feedback import COMMON, find_kind, looks_like_feedback
from lorerm.data.ids import parse_id, require_id
from lorerm.data.schema import Comparison, missing_column, parse_split, parse_weight
from lorerm.errors import DataError

if TYPE_CHECKING:
    from lorerm.data.conversation import Conversation
    from lorerm.data.feedback.kind import Kind


def parse_row(record: object, user_column: str = "user_id", account: Account | None = None) -> list[Comparison]:
    """Check one row of the input and return the comparisons that it becomes (none if all responses are tied).

    A row is a mapping with these columns:

    - the user, under the name `user_column`
    - `prompt`, and the columns of one kind of feedback (`lorerm.data.feedback`)
    - optional: `prompt_id`, `split`, `weight`

    What is left out or looks wrong is counted in `account`. Raises `DataError` if the row is not valid. The error names
    the column; the caller adds the row.
    """
    account = account or Account()
    if not isinstance(record, Mapping):
        raise DataError(f"the row is a {type(record).__name__}", "give one object with named columns per row")
    if user_column not in record:
        raise missing_column(
            user_column,
            record,
            f'rename the column with the users to "{user_column}", or give its name as user_column (--user-column)',
        )
    user_id = require_id(record[user_column], user_column)
    kind = find_kind(record)
    judged = kind.parse(record, account)
    prompt_id = parse_id(record.get("prompt_id"), "prompt_id")
    if prompt_id is None:
        account.note(Fact.WITHOUT_PROMPT_ID, "prompt_id")
        prompt_id = _hash(judged.prompt)
    split = parse_split(record.get("split"))
    weight = parse_weight(record.get("weight")) * judged.ordering.weight
    account.n_ties += judged.ordering.ties
    _note_unused(record, kind, user_column, account)
    return [
        Comparison(user_id, prompt_id, judged.prompt, judged.responses[better], judged.responses[worse], split, weight)
        for better, worse in judged.ordering.pairs
    ]


def _hash(prompt: Conversation) -> str:
    """Return the default prompt id: a hash of the prompt, without white space at the ends of its messages."""
    stripped = tuple(Message(role=message["role"], content=message["content"].strip()) for message in prompt)
    return hashlib.sha256(conversation_key(stripped).encode()).hexdigest()[:16]


def _note_unused(record: Mapping[str, object], kind: Kind, user_column: str, account: Account) -> None:
    """Count the columns that look like feedback, but that this kind of feedback does not use."""
    for column, value in record.items():
        is_used = column == user_column or column in COMMON or column in kind.columns
        if not is_used and not _is_empty(value) and looks_like_feedback(str(column)):
            account.note(Fact.UNUSED_COLUMN, str(column))


def _is_empty(value: object) -> bool:
    return is_missing(value) or (isinstance(value, (str, list, dict)) and not value)
