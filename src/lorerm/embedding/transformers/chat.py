"""Convert conversations to token ids: render the chat template, shorten prompts that are too long, tokenize."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lorerm.data.conversation import Conversation, Message, storable
from lorerm.errors import DataError, ModelError

PINNED_DATE = "26 Jul 2024"
"""The date given to every template that prints the current date. Llama 3's template has it as its fallback."""

_PINNED_FIELDS = {
    "%Y": "2024", "%y": "24", "%m": "07", "%d": "26", "%b": "Jul", "%B": "July", "%a": "Fri", "%A": "Friday",
    "%-d": "26", "%-m": "7", "%H": "00", "%M": "00", "%S": "00", "%I": "12", "%p": "AM",
}  # fmt: skip

# Templates read the clock with `strftime_now`, a function of transformers, which passes no function of ours to the
# template. A macro of the same name at the top of the template hides it. The newline after the macro is not rendered
# (trim_blocks), so that the template after it still begins at the start of a line.
_PINNED_CLOCK = (
    "{% macro strftime_now(format) %}{{ format"
    + "".join(f" | replace('{field}', '{value}')" for field, value in _PINNED_FIELDS.items())
    + " }}{% endmacro %}\n"
)


@dataclass(frozen=True)
class RenderedChats:
    """Conversations as token ids, and the indices of conversations to warn about."""

    token_ids: list[tuple[int, ...]]
    """The token ids of each conversation, in order."""
    shortened: list[int]
    """Indices of the conversations that were too long; the beginning of their prompts was cut off."""
    control: list[int]
    """Indices of the conversations whose text contains control tokens, which the model interprets as such."""


class ChatTokenizer:
    """Renders conversations with a chat template and tokenizes the result.

    - The template writes all special tokens, including the one at the beginning; the tokenizer adds none.
    - A template that prints the current date always prints 26 July 2024. Otherwise embeddings would change every day.
    - A lone surrogate, which no tokenizer accepts, is replaced by U+FFFD.

    `chat_template` is a Jinja template that replaces the tokenizer's own. `model` is the name in error messages. Raises
    `ModelError` if there is no chat template.
    """

    def __init__(self, tokenizer: Any, chat_template: str | None, model: str) -> None:  # noqa: ANN401 - untyped library
        self._tokenizer = tokenizer
        self._model = model
        try:
            self.template: str = tokenizer.get_chat_template() if chat_template is None else chat_template
        except ValueError as error:
            raise ModelError(
                f"the tokenizer of {model} has no chat template",
                "give one with chat_template= (--chat-template FILE): a Jinja template that renders `messages`",
            ) from error
        self._pinned = _PINNED_CLOCK + self.template if "strftime_now" in self.template else self.template
        added = (token.content for token in tokenizer.added_tokens_decoder.values() if token.special)
        control = sorted({*tokenizer.all_special_tokens, *added} - {""}, key=lambda token: (-len(token), token))
        self._control = re.compile("|".join(map(re.escape, control)) or "(?!)")  # (?!) matches nothing

    @property
    def pinned_template(self) -> str:
        """The template with the fixed date written into it, for a tokenizer that is used without lorerm."""
        day = f'{{% set date_string = "{PINNED_DATE}" %}}\n' if "date_string" in self.template else ""
        return day + self._pinned

    @property
    def template_hash(self) -> str:
        """SHA-256 of the text of the chat template, in hexadecimal digits."""
        return hashlib.sha256(self.template.encode()).hexdigest()

    def render(self, conversations: Sequence[Conversation], max_length: int | None = None) -> RenderedChats:
        """Convert conversations to token ids, at most `max_length` per conversation.

        A longer conversation loses text at the beginning of its prompt; see `shorten`. Raises `DataError` if a
        conversation is too long even without its prompt, or if the template rejects it or renders it as an empty text.
        """
        if not conversations:
            return RenderedChats([], [], [])
        token_ids = self._tokenize([self._text(*numbered) for numbered in enumerate(conversations)])
        for index, ids in enumerate(token_ids):
            if not ids:
                raise DataError(
                    f"the chat template of {self._model} renders conversations[{index}] as an empty text",
                    "remove the conversation, or check the template",
                )
        shortened = [index for index, ids in enumerate(token_ids) if max_length is not None and len(ids) > max_length]
        for index in shortened:
            token_ids[index] = self._fit(index, conversations[index], token_ids[index], max_length or 0)
        control = [
            index
            for index, conversation in enumerate(conversations)
            if any(self._control.search(message["content"]) for message in conversation)
        ]
        return RenderedChats(token_ids, shortened, control)

    def token_text(self, token: int) -> str:
        """Return the text of a token, for an error message."""
        return str(self._tokenizer.convert_ids_to_tokens(token))

    def _fit(self, index: int, conversation: Conversation, ids: tuple[int, ...], max_length: int) -> tuple[int, ...]:
        while len(ids) > max_length:
            shorter = shorten(conversation, len(ids) - max_length, self._tokenizer)
            if shorter is None:
                raise DataError(
                    f"conversations[{index}] has {len(ids)} tokens even without the text of its prompt, more than the "
                    f"maximum of {max_length} for {self._model}",
                    "remove the conversation, or choose a larger max_length or another model",
                )
            conversation = shorter
            (ids,) = self._tokenize([self._text(index, conversation)])
        return ids

    def _tokenize(self, texts: list[str]) -> list[tuple[int, ...]]:
        rows = self._tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
        return [tuple(row) for row in rows]

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
                f"the chat template of {self._model} is not valid Jinja ({error.message})", "correct the template"
            ) from error
        except (TemplateError, ValueError, TypeError) as error:
            raise DataError(
                f"the chat template of {self._model} rejects conversations[{index}] ({' '.join(str(error).split())})",
                "use the roles and the order of turns that the template expects, or choose another template",
            ) from error
        return storable(text)


def shorten(conversation: Conversation, excess: int, tokenizer: Any) -> Conversation | None:  # noqa: ANN401 - untyped library
    """Remove about `excess` tokens, at least one character, from the beginning of a conversation's text.

    - System turns are never cut, nor is the last turn, which is the response.
    - The text is cut before the chat template is applied, because the special tokens around it must stay whole.
    - A turn whose text is removed completely stays as an empty turn. If the reply to it is empty as well, both are
      removed, so that roles still alternate.

    Return None if there is nothing left to cut. The result may still be a few tokens too long, because tokenization can
    change at the cut. In this case, call the function again.
    """
    messages = list(conversation)
    for index, message in enumerate(messages[:-1]):
        if message["role"] == "system" or not message["content"]:
            continue
        cut, n_tokens = _cut_position(message["content"], excess, tokenizer)
        messages[index] = {"role": message["role"], "content": message["content"][cut:]}
        excess -= n_tokens
        if excess <= 0 or messages[index]["content"]:
            return _without_empty_exchanges(messages)
    shorter = _without_empty_exchanges(messages)
    return shorter if shorter != conversation else None


def _cut_position(text: str, excess: int, tokenizer: Any) -> tuple[int, int]:  # noqa: ANN401
    """Return the number of characters in a text's first `excess` tokens, and the number of these tokens."""
    # Slow tokenizers give no character offsets. All tokens are then assumed to be equally long; the cut is rounded up.
    if not tokenizer.is_fast:
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        n_tokens = max(len(ids), 1)
        return min(len(text), max(1, -(-len(text) * excess // n_tokens))), min(excess, n_tokens)
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    if len(offsets) <= excess:
        return len(text), len(offsets)
    return max(1, offsets[excess][0]), excess


def _without_empty_exchanges(messages: list[Message]) -> Conversation:
    """Remove the oldest user turns together with their replies, as long as both have no text."""
    kept = list(messages)
    first = next((index for index, message in enumerate(kept) if message["role"] != "system"), len(kept))
    # At least one turn before the response is kept.
    while first + 3 < len(kept) and not kept[first]["content"] and not kept[first + 1]["content"]:
        if (kept[first]["role"], kept[first + 1]["role"]) != ("user", "assistant"):
            break
        del kept[first : first + 2]
    return tuple(kept)
