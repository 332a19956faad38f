"""Conversations as sequences of chat messages, and the conversion of strings and lists to them."""

from __future__ import annotations

import json
from typing import Literal, TypeAlias, TypedDict

from lorerm.data.coercion import as_list, describe, is_missing
from lorerm.data.printed import messages_in
from lorerm.errors import DataError

ROLES = ("system", "user", "assistant", "tool")
"""The roles that a message may have."""

# Keys of a message that are part of the response, like its content, but that no encoder reads.
_NOT_READ = ("tool_calls", "function_call", "audio", "images")

_TEXT_PARTS = ("text", "input_text", "output_text")  # the types of text in OpenAI's lists of content parts


class Message(TypedDict):
    """One message (turn) of a conversation."""

    role: str
    content: str


Conversation: TypeAlias = tuple[Message, ...]
"""The messages of a conversation, from first to last."""


def parse_messages(value: object, name: str, role: Literal["user", "assistant"]) -> Conversation:
    """Check a value and return it as messages.

    A string becomes one message of the given role; a string that is the printed form of messages becomes these. A list
    must contain `{"role", "content"}` mappings, whose other keys are ignored. A content that is a list of text parts
    becomes one text. Lone surrogates are replaced by U+FFFD. `name` describes the value in errors, for instance
    `column "chosen"`. Raises `DataError` if the value is not valid, or has parts that are not text.
    """
    if isinstance(value, str):
        printed = messages_in(value, name)
        if printed is None:
            return (Message(role=role, content=storable(value)),)
        value = printed
    if is_missing(value):
        raise DataError(f"{name} is missing", "give a string or a list of messages, or leave the row out")
    entries = as_list(value)
    if entries is None:
        raise DataError(f"{name} is {describe(value)}", 'give a string or a list of {"role", "content"} messages')
    messages = tuple(_parse_message(message, f"{name}, message {number}") for number, message in enumerate(entries, 1))
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
    """Return a response as messages: the turns after the prompt, up to an assistant turn, whose text may be empty."""
    messages = parse_messages(value, name, "assistant")
    if messages[0]["role"] in ("system", "user"):
        raise DataError(
            f"{name} begins with a turn of role {messages[0]['role']}",
            "give only the turns that follow the prompt, and put all turns before them into the prompt",
        )
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


def check_several(values: object, argument: str) -> None:
    """Raise `DataError` if a single text is given in place of a list of texts. Its letters would be taken as texts."""
    if isinstance(values, (str, bytes)):
        raise DataError(
            f"{argument} is a single text", "give a list, also if there is only one text", argument=argument
        )


def conversation_key(conversation: Conversation) -> str:
    """Return the canonical JSON of a conversation, in ASCII. Keys are equal if and only if the conversations are.

    Examples
    --------
    >>> conversation_key(as_conversation("Hello?", "Hi!"))
    '[["user","Hello?"],["assistant","Hi!"]]'
    """
    turns = [(message["role"], message["content"]) for message in conversation]
    return json.dumps(turns, separators=(",", ":"))


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


def _parse_message(message: object, name: str) -> Message:
    if isinstance(message, str):
        raise DataError(
            f"{name} is a string, not a message", 'give one string, or a list of {"role", "content"} messages'
        )
    if not isinstance(message, dict):
        raise DataError(f"{name} is a {type(message).__name__}", 'give {"role": ..., "content": ...}')
    role = message.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise DataError(f"{name} has the role {role!r:.40}", f"use one of {', '.join(ROLES)}")
    for key in _NOT_READ:
        part = message.get(key)
        if not is_missing(part) and (as_list(part) is None or len(as_list(part) or ())):
            raise DataError(
                f"{name} has the key {key}, which is not read",
                "write its content as text into the content of the message, or leave the row out",
            )
    return Message(role=role, content=storable(_parse_content(message.get("content"), name)))


def _parse_content(content: object, name: str) -> str:
    """Return the content of a message as text; the texts of a list of parts are joined."""
    if isinstance(content, str):
        return content
    if is_missing(content):
        raise DataError(f"{name} has no content", "give a string, or leave the row out")
    parts = as_list(content)
    if not parts:
        raise DataError(f"{name} has content of type {type(content).__name__}", "give a string")
    texts = []
    for part in parts:
        kind = part.get("type", "text") if isinstance(part, dict) else type(part).__name__
        text = part.get("text") if isinstance(part, dict) else part
        if not isinstance(text, str) or kind not in (*_TEXT_PARTS, "str"):
            raise DataError(
                f"{name} has a content part of type {kind!r:.40}",
                "give only parts of type text, since nothing else is read, or leave the row out",
            )
        texts.append(text)
    return "".join(texts)
