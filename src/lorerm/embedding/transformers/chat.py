"""Conversations to token ids, through a tokenizer's own chat template."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lorerm.embedding.transformers.truncation import shorten
from lorerm.errors import DataError, ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lorerm.data.conversation import Conversation

PINNED_DATE = "26 Jul 2024"
"""The day on which every template believes to be: the one that Llama 3's template falls back to without a clock."""

_PINNED_FIELDS = {
    "%Y": "2024", "%y": "24", "%m": "07", "%d": "26", "%b": "Jul", "%B": "July", "%a": "Fri", "%A": "Friday",
    "%-d": "26", "%-m": "7", "%H": "00", "%M": "00", "%S": "00", "%I": "12", "%p": "AM",
}  # fmt: skip

# A macro at a template's top hides the function of the same name that transformers offers, which reads the clock; a
# function handed over as a variable would not reach the template. The newline after the block belongs to the block
# (trim_blocks), so that the template behind it still begins at the start of a line.
_PINNED_CLOCK = (
    "{% macro strftime_now(format) %}{{ format"
    + "".join(f" | replace('{field}', '{value}')" for field, value in _PINNED_FIELDS.items())
    + " }}{% endmacro %}\n"
)


@dataclass(frozen=True)
class RenderedChats:
    """Conversations as token ids, and what had to be done or said about some of them."""

    token_ids: list[tuple[int, ...]]
    """One per conversation, in order."""
    shortened: list[int]
    """The conversations whose prompt was too long and lost text at its beginning."""
    control: list[int]
    """The conversations in whose text control tokens stand, which act as such."""


class ChatTokenizer:
    """Renders conversations with a chat template and tokenizes the result.

    - The template writes all special tokens, the one at the beginning included; the tokenizer adds none.
    - A template that prints today's date prints 26 July 2024 always, or embeddings would change overnight.
    - Half of a surrogate pair, which no tokenizer takes, is read as U+FFFD.

    Parameters
    ----------
    tokenizer
        A tokenizer of transformers.
    chat_template
        A Jinja template to use instead of the tokenizer's own.
    model
        The model's name, for messages.

    Raises
    ------
    ModelError
        If there is no chat template.
    """

    def __init__(self, tokenizer: Any, chat_template: str | None, model: str) -> None:  # noqa: ANN401 - untyped library
        self._tokenizer = tokenizer
        self._model = model
        self.template = chat_template if chat_template is not None else _own_template(tokenizer, model)
        self._pinned = _PINNED_CLOCK + self.template if "strftime_now" in self.template else self.template
        added = (token.content for token in tokenizer.added_tokens_decoder.values() if token.special)
        control = sorted({*tokenizer.all_special_tokens, *added} - {""}, key=lambda token: (-len(token), token))
        self._control = re.compile("|".join(map(re.escape, control))) if control else None

    @property
    def pinned_template(self) -> str:
        """The template as it is rendered here, for a tokenizer that others use: with the day fixed in its own text."""
        day = f'{{% set date_string = "{PINNED_DATE}" %}}\n' if "date_string" in self.template else ""
        return day + self._pinned

    @property
    def template_hash(self) -> str:
        """SHA-256 of the chat template's text, in hexadecimal digits."""
        return hashlib.sha256(self.template.encode()).hexdigest()

    def render(self, conversations: Sequence[Conversation], max_length: int | None = None) -> RenderedChats:
        """Turn conversations into token ids.

        Parameters
        ----------
        conversations
            n conversations, each a prompt with its response.
        max_length
            The most tokens of one. What is longer loses text at the beginning of its prompt, as `shorten` cuts it.

        Raises
        ------
        DataError
            If the template refuses a conversation, nothing is left of it, or it is too long even without its prompt.
        """
        if not conversations:
            return RenderedChats([], [], [])
        token_ids = self._tokenize([self._text(*numbered) for numbered in enumerate(conversations)])
        for index, ids in enumerate(token_ids):
            if not ids:
                raise DataError(f"conversations[{index}] is empty once rendered", "leave it out, or check the template")
        shortened = [index for index, ids in enumerate(token_ids) if max_length is not None and len(ids) > max_length]
        for index in shortened:
            token_ids[index] = self._fit(index, conversations[index], token_ids[index], max_length or 0)
        return RenderedChats(token_ids, shortened, self._with_control_tokens(conversations))

    def _fit(self, index: int, conversation: Conversation, ids: tuple[int, ...], max_length: int) -> tuple[int, ...]:
        """Cut the prompt until the rendered conversation has at most `max_length` tokens."""
        while len(ids) > max_length:
            shorter = shorten(conversation, len(ids) - max_length, self._tokenizer)
            if shorter is None:
                raise DataError(
                    f"conversations[{index}] has {len(ids)} tokens even without its prompt's text, more than the "
                    f"{max_length} that {self._model} may be given",
                    "leave it out, or take a larger max_length or another model",
                )
            conversation = shorter
            (ids,) = self._tokenize([self._text(index, conversation)])
        return ids

    def _tokenize(self, texts: list[str]) -> list[tuple[int, ...]]:
        rows = self._tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
        return [tuple(row) for row in rows]

    def _with_control_tokens(self, conversations: Sequence[Conversation]) -> list[int]:
        if self._control is None:
            return []
        return [
            index
            for index, conversation in enumerate(conversations)
            if any(self._control.search(message["content"]) for message in conversation)
        ]

    def _text(self, index: int, conversation: Conversation) -> str:
        from jinja2 import TemplateError, TemplateSyntaxError

        try:
            text: str = self._tokenizer.apply_chat_template(
                [dict(message) for message in conversation],
                chat_template=self._pinned,
                tokenize=False,
                add_generation_prompt=False,
                date_string=PINNED_DATE,
            )
        except TemplateSyntaxError as error:
            raise ModelError(
                f"the chat template for {self._model} is not valid Jinja ({error.message})", "correct the template"
            ) from error
        except (TemplateError, ValueError, TypeError) as error:
            raise DataError(
                f"the chat template of {self._model} refuses conversations[{index}] ({' '.join(str(error).split())})",
                "give its turns the roles and the order that the template takes, or give another template",
            ) from error
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _own_template(tokenizer: Any, model: str) -> str:  # noqa: ANN401 - untyped library
    try:
        template: str = tokenizer.get_chat_template()
    except ValueError as error:
        raise ModelError(
            f"the tokenizer of {model} has no chat template",
            "give one with chat_template= (--chat-template FILE): a Jinja template over `messages`",
        ) from error
    return template
