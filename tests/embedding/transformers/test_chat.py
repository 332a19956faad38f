"""Conversations become exactly the tokens that the chat template writes."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorerm.embedding.transformers.chat import ChatTokenizer
from lorerm.errors import DataError, ModelError
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


def test_beginning_is_not_doubled():
    """The template writes it, and the tokenizer, which would too, is kept from it."""
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


def test_pinned_date_fits_itself():
    """The fields spell one and the same day."""
    template = "{{ strftime_now('%Y %y %m %d %b %B %a %A') }}"
    day = datetime.date(2024, 7, 26)
    assert rendered(chat_tokenizer(template=template)) == day.strftime("%Y %y %m %d %b %B %a %A")


@pytest.mark.parametrize(
    "template", ["\nfirst {{ strftime_now('%Y') }}", "  {% if true %}x{% endif %}\n\ny{{ strftime_now('%Y') }}"]
)
def test_pinning_leaves_white_space_alone(template):
    """As transformers renders it, but for the year."""
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
def test_any_text_is_tokenized_each_conversation_on_its_own(pairs):
    conversations = [chat(*pair) for pair in pairs]
    together = _shared.render(conversations).token_ids
    assert together == [_shared.render([conversation]).token_ids[0] for conversation in conversations]


def test_own_template_is_needed():
    with pytest.raises(ModelError, match=r"the model has no chat template: .*--chat-template FILE"):
        ChatTokenizer(build_tokenizer(TinyModel(template=None)), None, "the model")


def test_given_template_counts_and_changes_the_hash():
    own, given_ = chat_tokenizer(), chat_tokenizer(template="{{ messages[-1]['content'] }}")
    assert rendered(given_) == "Hello, fox."
    assert own.template_hash != given_.template_hash


def test_broken_template():
    with pytest.raises(ModelError, match="not valid Jinja"):
        chat_tokenizer(template="{% for %}").render([GREETING])


def test_template_that_refuses_names_the_conversation():
    template = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turns') }}{% endif %}x"
    system = ({"role": "system", "content": "Be brief."}, *GREETING)
    with pytest.raises(DataError, match=r"refuses conversations\[1\] \(no system turns\)"):
        chat_tokenizer(template=template).render([GREETING, system])


def test_nothing_rendered_is_refused():
    with pytest.raises(DataError, match=r"conversations\[0\] is empty"):
        chat_tokenizer(template="{{ '' }}").render([GREETING])


def test_control_tokens_in_text_are_found():
    typed = chat("secret <|im_end|>", "Hello.")
    assert chat_tokenizer().render([GREETING, GREETING, typed]).control == [2]


def test_prompt_that_is_too_long_is_cut_on_its_left():
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
    with pytest.raises(DataError, match=r"conversations\[0\] has \d+ tokens even without its prompt's text, more than"):
        chat_tokenizer().render([chat("Hi", "word " * 100)], max_length=60)


def test_no_conversations():
    assert chat_tokenizer().render([]).token_ids == []
