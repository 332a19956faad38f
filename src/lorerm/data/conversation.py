"""Conversations as sequences of chat messages, and the conversion of strings and lists to them."""

from __future__ import annotations

import ast
import json
import warnings
from typing import Literal, TypeAlias, TypedDict

from lorerm.data.coercion import as_list, describe, is_missing
from lorerm.errors import DataError

ROLES = ("system", "user", "assistant", "tool")
"""The roles that a message may have."""


class Message(TypedDict):
    """One message (turn) of a conversation."""

    role: str
    content: str


Conversation: TypeAlias = tuple[Message, ...]
"""The messages of a conversation, from first to last."""


def parse_messages(value: object, name: str, role: Literal["user", "assistant"]) -> Conversation:
    """Check a value and return it as messages.

    A string becomes one message of the given role. A list must contain `{"role", "content"}` mappings, whose other keys
    are ignored. Lone surrogates are replaced by U+FFFD. `name` describes the value in errors, for instance
    `column "chosen"`. Raises `DataError` if the value is not valid.
    """
    if isinstance(value, str):
        return (Message(role=role, content=storable(value)),)
    if is_missing(value):
        raise DataError(f"{name} is missing", "give a string or a list of messages, or leave the row out")
    entries = as_list(value)
    if entries is None:
        raise DataError(f"{name} is {describe(value)}", 'give a string or a list of {"role", "content"} messages')
    messages = tuple(_parse_message(message, name, number) for number, message in enumerate(entries, 1))
    if not messages:
        raise DataError(f"{name} is an empty list", "give at least one message, or leave the row out")
    return messages


def parse_prompt(value: object, name: str = "the prompt") -> Conversation:
    """Return a prompt as messages. It must have text, and end in a turn of the user or of a tool."""
    messages = parse_messages(value, name, "user")
    if messages[-1]["role"] not in ("user", "tool"):
        raise DataError(
            f"{name} ends in a turn of role {messages[-1]['role']}",
            "end the prompt in a user turn, and put what the model said into the responses",
        )
    if not any(message["content"].strip() for message in messages):
        raise DataError(f"{name} is blank", "give the text that the responses reply to, or leave the row out")
    return messages


def parse_response(value: object, name: str = "the response") -> Conversation:
    """Return a response as messages. It must end in an assistant turn, whose text may be empty."""
    messages = parse_messages(value, name, "assistant")
    if messages[-1]["role"] != "assistant":
        raise DataError(
            f"{name} ends in a turn of role {messages[-1]['role']}", "end the response in an assistant turn"
        )
    return messages


def as_conversation(prompt: object, response: object) -> Conversation:
    """Return the conversation that encoders embed: the messages of the prompt, then the messages of the response.

    Examples
    --------
    >>> as_conversation("Hello?", "Hi!")
    ({'role': 'user', 'content': 'Hello?'}, {'role': 'assistant', 'content': 'Hi!'})
    """
    return parse_prompt(prompt) + parse_response(response)


def conversation_key(conversation: Conversation) -> str:
    """Return the canonical JSON of a conversation, in ASCII. Keys are equal if and only if the conversations are.

    Examples
    --------
    >>> conversation_key(as_conversation("Hello?", "Hi!"))
    '[["user","Hello?"],["assistant","Hi!"]]'
    """
    turns = [(message["role"], message["content"]) for message in conversation]
    return json.dumps(turns, separators=(",", ":"))


def is_stringified_list(text: str) -> bool:
    """Return True if a response is the printed form of a list of strings or of messages.

    In one published data set, only the rejected responses have this form, so that the brackets reveal which response
    was chosen (a label leak).

    Examples
    --------
    >>> is_stringified_list("['Hi!']"), is_stringified_list('[{"role": "assistant", "content": "Hi!"}]')
    (True, True)
    >>> is_stringified_list("[1, 2]"), is_stringified_list("[sic]")
    (False, False)
    """
    text = text.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return False
    value = _evaluate(text)
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(entry, str) for entry in value) or all(
        isinstance(entry, dict) and {"role", "content"} <= entry.keys() for entry in value
    )


def storable(text: str) -> str:
    """Replace lone surrogates, which UTF-8 cannot store, by U+FFFD; leave all other text unchanged."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        # In UTF-16, two surrogates that form a pair become one character, and only lone ones are replaced.
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _parse_message(message: object, name: str, number: int) -> Message:
    if isinstance(message, str):
        raise DataError(
            f"{name} is a list of strings",
            'give one string, or a list of {"role", "content"} messages',
        )
    if not isinstance(message, dict):
        raise DataError(f"{name}, message {number} is a {type(message).__name__}", 'give {"role": ..., "content": ...}')
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        raise DataError(f"{name}, message {number} has the role {role!r:.40}", f"use one of {', '.join(ROLES)}")
    if not isinstance(content, str):
        raise DataError(f"{name}, message {number} has content of type {type(content).__name__}", "give a string")
    return Message(role=role, content=storable(content))


def _evaluate(text: str) -> object:
    """Return the value of a text that is JSON or a Python literal. Return None if it is neither."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of an unknown escape such as "\d" in the text
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None
