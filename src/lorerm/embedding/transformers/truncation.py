"""What to do with a prompt that is too long: text goes from its left, so that its end and the response stay whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lorerm.data.conversation import Conversation, Message


def shorten(conversation: Conversation, excess: int, tokenizer: Any) -> Conversation | None:  # noqa: ANN401 - untyped library
    """Cut about as many tokens off the beginning of a conversation's text, at least one character.

    System turns and the last turn, the response, are never cut. The text is cut before the chat template is applied,
    for the special tokens around it must stay whole. A turn whose text is gone stays as an empty one, unless the answer
    to it is gone as well: then both are left out, so that roles still alternate.

    Parameters
    ----------
    conversation
        The turns.
    excess
        How many tokens too many it has once rendered; at least 1.
    tokenizer
        A tokenizer of transformers.

    Returns
    -------
    Conversation or None
        None where there is nothing left to cut. The result may still be a few tokens too long, as tokens can join
        differently around the cut: then call again.
    """
    messages = list(conversation)
    for place, message in enumerate(messages[:-1]):
        if message["role"] == "system" or not message["content"]:
            continue
        cut, n_tokens = _cut(message["content"], excess, tokenizer)
        messages[place] = _with_content(message, message["content"][cut:])
        excess -= n_tokens
        if excess <= 0 or messages[place]["content"]:
            return _without_empty_exchanges(messages)
    shorter = _without_empty_exchanges(messages)
    return shorter if shorter != conversation else None


def _cut(text: str, excess: int, tokenizer: Any) -> tuple[int, int]:  # noqa: ANN401
    """Return where the text goes on after its first `excess` tokens, and how many tokens that cuts off."""
    if not tokenizer.is_fast:  # it does not say where its tokens are
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        n_tokens = max(len(ids), 1)
        return min(len(text), max(1, -(-len(text) * excess // n_tokens))), min(excess, n_tokens)
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    if len(offsets) <= excess:
        return len(text), len(offsets)
    return max(1, offsets[excess][0]), excess


def _without_empty_exchanges(messages: list[Message]) -> Conversation:
    """Leave out the oldest user turns, each with its answer, of which no text is left."""
    kept = list(messages)
    first = next((place for place, message in enumerate(kept) if message["role"] != "system"), len(kept))
    # One exchange stays in any case: the last turn answers it.
    while first + 3 < len(kept) and not kept[first]["content"] and not kept[first + 1]["content"]:
        if (kept[first]["role"], kept[first + 1]["role"]) != ("user", "assistant"):
            break
        del kept[first : first + 2]
    return tuple(kept)


def _with_content(message: Message, content: str) -> Message:
    return {"role": message["role"], "content": content}
