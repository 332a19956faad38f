"""Text goes from the left of the prompt; system turns and the response stay."""

from __future__ import annotations

import pytest

from lorerm.embedding.transformers.truncation import shorten
from tiny_models import TinyModel, build_tokenizer, chat

TOKENIZER = build_tokenizer(TinyModel())


def turns(*contents):
    roles = ["user", "assistant"] * len(contents)
    return tuple({"role": role, "content": content} for role, content in zip(roles, contents, strict=False))


class Slow:
    """A tokenizer that does not say where its tokens are."""

    is_fast = False

    def __call__(self, text, **_):
        return {"input_ids": list(text)}


def test_beginning_of_the_prompt_goes():
    text = "quick brown fox"
    cut = shorten(chat(text, "dog"), 1, TOKENIZER)
    assert text.endswith(cut[0]["content"])
    assert 0 < len(cut[0]["content"]) < len(text)
    assert cut[1]["content"] == "dog"


def test_tokenizer_without_offsets_cuts_in_proportion():
    assert shorten(chat("abcdefgh", "x"), 3, Slow())[0]["content"] == "defgh"


def test_system_turn_and_response_are_never_cut():
    system = {"role": "system", "content": "Be brief."}
    cut = shorten((system, *chat("Hi", "long response")), 100, TOKENIZER)
    assert [turn["content"] for turn in cut] == ["Be brief.", "", "long response"]
    assert shorten(cut, 100, TOKENIZER) is None


def test_exchange_without_text_is_left_out():
    cut = shorten(turns("old", "answer", "new", "response"), len("old" + "answer"), Slow())
    assert [turn["content"] for turn in cut] == ["new", "response"]


@pytest.mark.parametrize("text", ["\u00e9\U0001f600" * 5, "   ", "a"])
def test_every_call_cuts_something(text):
    left = chat(text, "x")
    for _ in range(50):
        shorter = shorten(left, 1, TOKENIZER)
        if shorter is None:
            break
        assert len(shorter[0]["content"]) < len(left[0]["content"])
        left = shorter
    assert left[0]["content"] == ""
