"""Conversations become exactly the tokens that the chat template writes; prompts that are too long are cut."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorerm.embedding.transformers.chat import ChatTokenizer, shorten
from lorerm.errors import DataError, ModelError
from refusals import refused
from tiny_models import CHATML, TinyModel, build_tokenizer, chat

GREETING = chat("Hello, dog.", "Hello, fox.")


def chat_tokenizer(template=None, **variant):
    return ChatTokenizer(build_tokenizer(TinyModel(**variant)), template, "the model")


def rendered(tokenizer, conversation=GREETING):
    """The text that the tokens of a conversation spell."""
    return tokenizer._tokenizer.decode(tokenizer.render([conversation]).token_ids[0])


def test_tokens_spell_the_rendered_chat():
    expected = "<|im_start|>user\nHello, dog.<|im_end|>\n<|im_start|>assistant\nHello, fox.<|im_end|>\n"
    assert rendered(chat_tokenizer()) == expected


def test_tokens_equal_those_of_transformers():
    tokenizer = chat_tokenizer()
    expected = tokenizer._tokenizer.apply_chat_template(list(GREETING), return_dict=False)
    assert tokenizer.render([GREETING]).token_ids == [tuple(expected)]


def test_beginning_token_is_not_doubled():
    """The template writes it; the tokenizer, which would add it too, does not."""
    tokenizer = chat_tokenizer(template="{{ bos_token }}" + CHATML, tokenizer_adds_bos=True)
    beginning = tokenizer._tokenizer.bos_token_id
    ids = tokenizer.render([GREETING]).token_ids[0]
    assert ids[0] == beginning
    assert ids.count(beginning) == 1
    assert tokenizer._tokenizer("x")["input_ids"][0] == beginning


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ strftime_now('%d %b %Y') }}|", "26 Jul 2024|"),
        ("{%- if true %}\n{{ strftime_now('%Y-%m-%d') }}{% endif %}", "2024-07-26"),
        ("{% macro day() %}{{ strftime_now('%A, %-d %B') }}{% endmacro %}{{ day() }}", "Friday, 26 July"),
        ("{% for m in messages[:1] %}{{ strftime_now('%d/%m/%y') }}{% endfor %}", "26/07/24"),
        ("{{ date_string }}", "26 Jul 2024"),
        (
            "{% if not date_string is defined %}{% set date_string = 'today' %}{% endif %}{{ date_string }}",
            "26 Jul 2024",
        ),
    ],
)
def test_dates_are_pinned(template, expected):
    assert rendered(chat_tokenizer(template=template)) == expected


def test_pinned_date_is_consistent():
    """All fields of the pinned date are of the same day."""
    template = "{{ strftime_now('%Y %y %m %d %b %B %a %A') }}"
    day = datetime.date(2024, 7, 26)
    assert rendered(chat_tokenizer(template=template)) == day.strftime("%Y %y %m %d %b %B %a %A")


@pytest.mark.parametrize(
    "template", ["\nfirst {{ strftime_now('%Y') }}", "  {% if true %}x{% endif %}\n\ny{{ strftime_now('%Y') }}"]
)
def test_pinning_the_date_keeps_white_space(template):
    """The rest is as transformers renders it."""
    tokenizer = chat_tokenizer(template=template)
    plain = tokenizer._tokenizer.apply_chat_template(list(GREETING), chat_template=template, tokenize=False)
    assert rendered(tokenizer)[:-4] == plain[:-4]


@pytest.mark.parametrize(
    ("text", "read_as"),
    [("a \ud800 b", "a \ufffd b"), ("\udc00", "\ufffd"), ("\ud83d\ude00", "\U0001f600"), ("end \ud83d", "end \ufffd")],
)
def test_lone_surrogates_are_replaced(text, read_as):
    tokenizer = chat_tokenizer()
    assert tokenizer.render([chat("Hi", text)]) == tokenizer.render([chat("Hi", read_as)])


_shared = chat_tokenizer()


@given(
    st.lists(st.tuples(st.text(st.characters(codec=None)), st.text(st.characters(codec=None))), min_size=1, max_size=4)
)
def test_token_ids_of_a_conversation_do_not_depend_on_the_others(pairs):
    conversations = [chat(*pair) for pair in pairs]
    together = _shared.render(conversations).token_ids
    assert together == [_shared.render([conversation]).token_ids[0] for conversation in conversations]


def test_tokenizer_without_a_chat_template_needs_one():
    with refused(ModelError, "the model", "--chat-template"):
        ChatTokenizer(build_tokenizer(TinyModel(template=None)), None, "the model")


def test_given_template_is_used_and_changes_the_hash():
    own, given_ = chat_tokenizer(), chat_tokenizer(template="{{ messages[-1]['content'] }}")
    assert rendered(given_) == "Hello, fox."
    assert own.template_hash != given_.template_hash


def test_broken_template():
    with refused(ModelError, "the model", "Jinja"):
        chat_tokenizer(template="{% for %}").render([GREETING])


def test_template_that_refuses_names_the_conversation():
    template = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turns') }}{% endif %}x"
    system = ({"role": "system", "content": "Be brief."}, *GREETING)
    with refused(DataError, "the model", "conversations[1]", "(no system turns)"):
        chat_tokenizer(template=template).render([GREETING, system])


def test_conversation_rendered_as_an_empty_text_is_refused():
    with refused(DataError, "the model", "conversations[0]"):
        chat_tokenizer(template="{{ '' }}").render([GREETING])


def test_control_tokens_in_text_are_found():
    typed = chat("secret <|im_end|>", "Hello.")
    assert chat_tokenizer().render([GREETING, GREETING, typed]).control == [2]


def test_prompt_that_is_too_long_is_cut_at_its_beginning():
    """The end of the prompt, the response and the special tokens stay."""
    tokenizer = chat_tokenizer()
    long = chat("The quick brown fox " * 20 + "answers.", "Hello, dog.")
    whole = tokenizer.render([GREETING, long]).token_ids[1]
    chats = tokenizer.render([GREETING, long], max_length=60)
    text = tokenizer._tokenizer.decode(chats.token_ids[1])
    assert chats.shortened == [1]
    assert 55 < len(chats.token_ids[1]) <= 60 < len(whole)
    assert text.startswith("<|im_start|>user\n")
    assert text.endswith("fox answers.<|im_end|>\n<|im_start|>assistant\nHello, dog.<|im_end|>\n")


def test_response_that_is_too_long_is_refused():
    n_tokens = len(chat_tokenizer().render([chat("", "word " * 100)]).token_ids[0])
    with refused(DataError, f"conversations[0] has {n_tokens} tokens", "60", "the model"):
        chat_tokenizer().render([chat("Hi", "word " * 100)], max_length=60)


def test_no_conversations():
    assert chat_tokenizer().render([]).token_ids == []


TOKENIZER = build_tokenizer(TinyModel())


def turns(*contents):
    roles = ["user", "assistant"] * len(contents)
    return tuple({"role": role, "content": content} for role, content in zip(roles, contents, strict=False))


class SlowTokenizer:
    """A tokenizer without character offsets."""

    is_fast = False

    def __call__(self, text, **_):
        return {"input_ids": list(text)}


def test_beginning_of_the_prompt_is_cut():
    text = "quick brown fox"
    cut = shorten(chat(text, "dog"), 1, TOKENIZER)
    assert text.endswith(cut[0]["content"])
    assert 0 < len(cut[0]["content"]) < len(text)
    assert cut[1]["content"] == "dog"


def test_tokenizer_without_offsets_cuts_in_proportion():
    assert shorten(chat("abcdefgh", "x"), 3, SlowTokenizer())[0]["content"] == "defgh"


def test_system_turn_and_response_are_never_cut():
    system = {"role": "system", "content": "Be brief."}
    cut = shorten((system, *chat("Hi", "long response")), 100, TOKENIZER)
    assert [turn["content"] for turn in cut] == ["Be brief.", "", "long response"]
    assert shorten(cut, 100, TOKENIZER) is None


def test_exchange_without_text_is_removed():
    cut = shorten(turns("old", "answer", "new", "response"), len("old" + "answer"), SlowTokenizer())
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
