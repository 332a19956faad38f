"""Conversations: lists of messages, and the strings that stand for a list of one."""

from __future__ import annotations

import ast
import json
import warnings
from typing import Literal, TypeAlias, TypedDict

from lorerm.data.values import as_list, is_missing
from lorerm.errors import DataError

ROLES = ("system", "user", "assistant", "tool")
"""Who may speak in a conversation."""


class Message(TypedDict):
    """One turn of a conversation."""

    role: str
    content: str


Conversation: TypeAlias = tuple[Message, ...]
"""The turns of a conversation, first to last."""


def parse_messages(value: object, name: str, role: Literal["user", "assistant"]) -> Conversation:
    """Check and normalise a string or a list of messages.

    Lone surrogates, which no file can hold, become U+FFFD. Keys of a message other than `role` and `content` are
    ignored.

    Parameters
    ----------
    value
        A string, which is one turn of `role`, or a list (tuple, array) of `{"role", "content"}` mappings.
    name
        How an error calls the value, such as `column "chosen"`.
    role
        Who speaks when the value is a string.

    Returns
    -------
    Conversation
        At least one message.

    Raises
    ------
    DataError
        The value is neither, an empty list, or has a message without a known role or without string content.
    """
    if isinstance(value, str):
        return (Message(role=role, content=storable(value)),)
    if is_missing(value):
        raise DataError(f"{name} is missing", "give a string or a list of messages, or leave the row out")
    entries = as_list(value)
    if entries is None:
        raise DataError(
            f"{name} is a {type(value).__name__}", 'give a string or a list of {"role", "content"} messages'
        )
    messages = tuple(_parse_message(message, name, number) for number, message in enumerate(entries, 1))
    if not messages:
        raise DataError(f"{name} is an empty list", "give at least one message, or leave the row out")
    return messages


def parse_prompt(value: object, name: str = "the prompt") -> Conversation:
    """Check and normalise a prompt: not blank, and ending in a turn that asks for an answer.

    Parameters
    ----------
    value
        A string (one user turn) or a list of messages that ends in a `user` or `tool` turn.
    name
        How an error calls the value.

    Returns
    -------
    Conversation

    Raises
    ------
    DataError
        As `parse_messages`; or the prompt is blank or ends in a `system` or `assistant` turn.
    """
    messages = parse_messages(value, name, "user")
    if messages[-1]["role"] not in ("user", "tool"):
        raise DataError(
            f"{name} ends in {_a(messages[-1]['role'])} turn",
            "end the prompt in a user turn and leave the answer to the responses",
        )
    if not any(message["content"].strip() for message in messages):
        raise DataError(f"{name} is blank", "give the text that was answered, or leave the row out")
    return messages


def parse_response(value: object, name: str = "the response") -> Conversation:
    """Check and normalise a response: it ends in an assistant turn, which may be empty.

    Parameters
    ----------
    value
        A string (one assistant turn) or a list of messages that ends in an `assistant` turn.
    name
        How an error calls the value.

    Returns
    -------
    Conversation

    Raises
    ------
    DataError
        As `parse_messages`; or the last turn is not the assistant's.
    """
    messages = parse_messages(value, name, "assistant")
    if messages[-1]["role"] != "assistant":
        raise DataError(f"{name} ends in {_a(messages[-1]['role'])} turn", "end the response in an assistant turn")
    return messages


def as_conversation(prompt: object, response: object) -> Conversation:
    """Join a prompt and a response, strings or lists of messages, to the conversation that is embedded.

    Parameters
    ----------
    prompt
        A string (one user turn) or a list of messages.
    response
        A string (one assistant turn) or a list of messages that ends in an assistant turn.

    Returns
    -------
    Conversation
        The turns of the prompt, then those of the response.

    Raises
    ------
    DataError
        One of the two does not keep the data contract.

    Examples
    --------
    >>> as_conversation("Hello?", "Hi!")
    ({'role': 'user', 'content': 'Hello?'}, {'role': 'assistant', 'content': 'Hi!'})
    """
    return parse_prompt(prompt) + parse_response(response)


def conversation_key(conversation: Conversation) -> str:
    """Give the canonical JSON of a conversation: equal exactly when the conversations are.

    Parameters
    ----------
    conversation
        Any conversation.

    Returns
    -------
    str
        ASCII only.

    Examples
    --------
    >>> conversation_key(as_conversation("Hello?", "Hi!"))
    '[["user","Hello?"],["assistant","Hi!"]]'
    """
    turns = [(message["role"], message["content"]) for message in conversation]
    return json.dumps(turns, separators=(",", ":"))


def is_stringified_list(text: str) -> bool:
    """Tell whether a string is the printed form of a list of strings or of messages.

    Such a string on one side of a pair only is the fault of a published pipeline: the brackets tell the sides apart.

    Parameters
    ----------
    text
        A response.

    Returns
    -------
    bool

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
    value = _parsed(text)
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(entry, str) for entry in value) or all(
        isinstance(entry, dict) and {"role", "content"} <= entry.keys() for entry in value
    )


def storable(text: str) -> str:
    """Replace lone surrogates, which UTF-8 cannot hold, by U+FFFD; all other text stays as it is."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _parse_message(message: object, name: str, number: int) -> Message:
    """Check one message of a list."""
    if isinstance(message, str):
        raise DataError(
            f"{name} is a list of strings",
            'give one string, or a list of {"role", "content"} messages: the brackets would be printed into the text',
        )
    if not isinstance(message, dict):
        raise DataError(f"{name}, message {number} is a {type(message).__name__}", 'give {"role": ..., "content": ...}')
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        raise DataError(f"{name}, message {number} has the role {role!r:.40}", f"use one of {', '.join(ROLES)}")
    if not isinstance(content, str):
        raise DataError(f"{name}, message {number} has content of type {type(content).__name__}", "give a string")
    return Message(role=role, content=storable(content))


def _parsed(text: str) -> object:
    """Parse a text as JSON, else as a Python literal, else give None."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "\d" in somebody's text is not our caller's concern
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None


def _a(role: str) -> str:
    """Put the article before a role."""
    return f"an {role}" if role == "assistant" else f"a {role}"
