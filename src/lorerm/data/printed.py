"""Read values that were stored as text: as JSON, or in the form in which Python prints a list or a dictionary.

Cells of CSV are always text, and databases and exports often store lists as text, too. The rule is the same for all
formats: a text that is the printed form (JSON, or Python's form) of chat messages is read as these messages, and a text
that is the printed form of another list stays a text if a text is expected.
"""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
import warnings
from functools import lru_cache

from lorerm.data.coercion import as_list, as_number
from lorerm.errors import DataError

# Roles in chat data of any origin. A text is recognised as messages only if one of them has such a role, so that a
# response in JSON with another field "role" stays a text.
_CHAT_ROLES = frozenset(
    ("system", "developer", "user", "human", "assistant", "gpt", "chatgpt", "bot", "model", "tool", "function")
)
_BEGINS_AS_MESSAGES = re.compile(r"""\s*\[\s*\{\s*['"](role|content|from|value)['"]\s*:""")


def messages_in(text: str, name: str) -> list[object] | dict[object, object] | None:
    """Return the chat messages in a text that is the printed form of messages. Return None for any other text.

    `name` describes the value in errors. Raises `DataError` if the text begins like messages, but cannot be read.

    Examples
    --------
    >>> messages_in("[{'role': 'user', 'content': 'Hi!'}]", "the prompt")
    [{'role': 'user', 'content': 'Hi!'}]
    >>> messages_in('["bread", "tea"]', "the response") is None
    True
    """
    start = text[:200].lstrip()[:1]
    if start not in ("[", "{"):
        return None
    value = _evaluate(text)
    entries = value if isinstance(value, list) else [value]
    if entries and all(map(_has_keys_of_message, entries)) and any(map(_has_chat_role, entries)):
        return value  # type: ignore[return-value]
    if value is None and _BEGINS_AS_MESSAGES.match(text[:2000]):
        raise DataError(
            f"{name} begins like a list of messages, written as text, but cannot be read as one",
            "check whether the text was cut off or printed by NumPy, and write lists as JSON, or save the table as "
            "JSON lines or Parquet",
        )
    return None


def list_in(value: object) -> list[object] | None:
    """Return the entries of a list, tuple, array, or text that is the printed form of a list. Otherwise return None.

    Examples
    --------
    >>> list_in("['a', 'b']"), list_in("[1, 2.5]"), list_in("a, b")
    (['a', 'b'], [1, 2.5], None)
    """
    if isinstance(value, str):
        value = _evaluate(value) if value.lstrip().startswith("[") else None
    return as_list(value)


def number_in(value: object) -> float | None:
    """Return a finite number, or the number that a text holds, as a float. Return None if the value is anything else.

    Examples
    --------
    >>> number_in("0.5"), number_in(2), number_in("many"), number_in(True)
    (0.5, 2.0, None, None)
    """
    if isinstance(value, str):
        try:
            value = None if "_" in value else float(value)
        except ValueError:
            return None
    return as_number(value)


def is_list_of_strings(text: str) -> bool:
    """Return True if a text is the printed form of a list of strings, in JSON or in Python's form.

    In one published data set, only the rejected responses have this form, so that the brackets reveal which response
    was chosen (a label leak).

    Examples
    --------
    >>> is_list_of_strings("['Hi!']"), is_list_of_strings('["Hi!"]'), is_list_of_strings("[sic]")
    (True, True, False)
    """
    value = list_in(text)
    return bool(value) and all(isinstance(entry, str) for entry in value or ())


def holds_chat_roles(text: str) -> bool:
    """Return True if a text is the printed form of an object or list that has the role of a chat message somewhere.

    Examples
    --------
    >>> holds_chat_roles('{"messages": [{"role": "user", "content": "Hi!"}]}'), holds_chat_roles('{"role": "admin"}')
    (True, False)
    """
    value = _evaluate(text) if text.lstrip()[:1] in ("[", "{") else None
    return _holds_chat_roles(value, 4)


def is_json(text: str) -> bool:
    """Return True if a text is JSON."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _has_keys_of_message(entry: object) -> bool:
    if not isinstance(entry, dict):
        return False
    named = "role" in entry and bool({"content", "tool_calls", "function_call"} & entry.keys())
    return named or {"from", "value"} <= entry.keys()


def _has_chat_role(entry: object) -> bool:
    role = (entry.get("role") or entry.get("from")) if isinstance(entry, dict) else None
    return bool(role) and (not isinstance(role, str) or role in _CHAT_ROLES)  # a list as role is an error, not a text


def _holds_chat_roles(value: object, depth: int) -> bool:
    """Search for a role in a value, in lists and objects inside each other up to the given depth."""
    if _has_chat_role(value):
        return True
    inner = list(value.values()) if isinstance(value, dict) else as_list(value) or []
    return depth > 0 and any(_holds_chat_roles(one, depth - 1) for one in inner)


@lru_cache(maxsize=8)  # several functions read the same text
def _evaluate(text: str) -> object:
    """Return the value of a text that is JSON or that Python or NumPy printed. Return None for any other text."""
    text = text.strip()
    if not text.endswith(("]", "}")):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of an unknown escape such as "\d" in the text
            return ast.literal_eval(_as_python(text))
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError, tokenize.TokenError):
        return None


def _as_python(text: str) -> str:
    """Convert a text that NumPy printed to Python's form: put commas between entries, and leave `array(...)` out.

    Without the commas, Python would join two neighbouring strings into one.
    """
    found: list[str] = []
    arrays: list[bool] = []  # for each open parenthesis, whether it belongs to an array
    is_value = is_dtype = (
        False  # whether the last token ends a value; whether it is in ", dtype=...", which is left out
    )
    tokens = [token for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.string.strip()]
    following = [*(token.string for token in tokens[1:]), ""]
    for token, after in zip(tokens, following, strict=True):
        is_literal = token.type in (tokenize.STRING, tokenize.NUMBER)
        if is_value and (is_literal or token.string in ("{", "[", "(", "-", "array")):
            found.append(",")
        is_dtype = (is_dtype and token.string != ")") or (token.string == "," and after == "dtype")
        if token.string == "(" and found[-1:] == ["array"]:
            found.pop()
            arrays.append(True)
        elif token.string == "(":
            found.append("(")
            arrays.append(False)
        elif not is_dtype and not (token.string == ")" and arrays and arrays.pop()):
            found.append(token.string)
        is_value = is_literal or token.string in ("}", "]", ")")
    return " ".join(found)
