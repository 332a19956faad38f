import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorerm.data.conversation import (
    ROLES,
    as_conversation,
    conversation_key,
    is_stringified_list,
    parse_messages,
    parse_prompt,
    parse_response,
)
from lorerm.errors import DataError
from refusals import refused

texts = st.text(st.characters(exclude_categories=["Cs"]))
messages = st.fixed_dictionaries({"role": st.sampled_from(ROLES), "content": texts})
conversations = st.lists(messages, min_size=1, max_size=4).map(tuple)


@given(conversations, conversations)
def test_key_is_equal_exactly_when_the_conversations_are(left, right):
    assert (conversation_key(left) == conversation_key(right)) == (left == right)
    assert conversation_key(left).isascii()


@given(conversations)
def test_lists_tuples_and_arrays_of_messages_are_equal(conversation):
    assert parse_messages(list(conversation), "it", "user") == conversation
    assert parse_messages(conversation, "it", "user") == conversation
    assert parse_messages(np.array(conversation, dtype=object), "it", "user") == conversation


def test_extra_keys_of_messages_are_left_out():
    assert parse_messages([{"role": "user", "content": "a", "name": "x"}], "it", "user") == (
        {"role": "user", "content": "a"},
    )


def test_strings_and_lists_mean_the_same():
    user, assistant = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
    assert as_conversation("q", "a") == as_conversation([user], [assistant]) == (user, assistant)
    assert as_conversation("q", [assistant]) == as_conversation([user], "a") == (user, assistant)


def test_lone_surrogates_are_replaced_and_all_else_kept():
    assert as_conversation("\ud83d? 😀", "ok")[0]["content"] == "\ufffd? 😀"


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (None, []),
        (float("nan"), []),
        (3, ["3"]),
        ({"role": "user", "content": "x"}, ["dict"]),
        ([], []),
        (["a", "b"], []),
        ([3], ["message 1", "int"]),
        ([{"role": "user"}], ["message 1", "NoneType"]),
        ([{"role": "user", "content": "a"}, {"role": "user", "content": ["a"]}], ["message 2", "list"]),
        ([{"content": "a"}], ["message 1", "None"]),
        ([{"role": "bot", "content": "a"}], ["message 1", "'bot'", *ROLES]),
    ],
)
def test_value_that_is_no_conversation_is_refused_by_name(value, named):
    with refused(DataError, "the value", *named):
        parse_messages(value, "the value", "user")


@pytest.mark.parametrize("role", ["assistant", "system"])
def test_prompt_must_end_in_a_user_turn(role):
    with refused(DataError, f"of role {role}"):
        parse_prompt([{"role": "user", "content": "a"}, {"role": role, "content": "b"}])


def test_prompt_must_not_be_blank():
    with refused(DataError, "the prompt", "blank"):
        parse_prompt(" \n")


def test_response_must_end_in_an_assistant_turn_and_may_be_empty():
    assert parse_response("") == ({"role": "assistant", "content": ""},)
    with refused(DataError, "of role user"):
        parse_response([{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}])


@given(st.lists(texts, min_size=1))
def test_every_printed_list_of_strings_is_recognised(strings):
    assert is_stringified_list(json.dumps(strings))
    assert is_stringified_list(f"  {strings!r}\n")


@pytest.mark.parametrize(
    "text", ["", "[", "[]", "[sic]", "[1, 2]", "['a', 1]", "['a'", "[" * 5000 + "]" * 5000, "(1)", r"['\d']x]"]
)
def test_other_text_is_no_printed_list(text):
    assert not is_stringified_list(text)


def test_invalid_escape_raises_no_warning():
    assert is_stringified_list(r"['\d']")
