import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorerm.data.conversation import (
    ROLES,
    as_conversation,
    conversation_key,
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
        ([{"role": "user"}], ["message 1"]),
        ([{"role": "user", "content": "a"}, {"role": "user", "content": 3}], ["message 2", "int"]),
        ([{"role": "user", "content": []}], ["message 1", "list"]),
        ([{"role": ["user"], "content": "a"}], ["message 1", "['user']"]),
        ('{"role": "user", "content": "x"}', ["dict"]),
        ('[{"role": "user", "content": "a"}, {"role": "bot", "content": "b"}]', ["message 2", "'bot'"]),
        ("[{'from': 'human', 'value': 'a'}]", ["message 1", "None"]),
        ("[{'role': 'user', 'content': 'cut o", []),
        ("[{'content': 'a', 'role': 'user'} ... {'content': 'b', 'role': 'assistant'}]", []),
        ("[{'role': 'bot', 'content': 'a'}, {'role': 'user', 'content': 'b'}]", ["message 1", "'bot'"]),
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


@given(conversations)
def test_printed_form_of_messages_is_read_as_the_messages(conversation):
    """JSON and what Python prints: cells of CSV, strings in Parquet, columns of databases."""
    wanted = parse_messages(list(conversation), "it", "user")
    for text in (json.dumps(conversation), json.dumps(conversation, indent=1), repr(list(conversation))):
        assert parse_messages(text, "it", "user") == wanted


@pytest.mark.parametrize(
    "text",
    [
        *('["bread", "tea"]', "['bread']", '[{"name": "a"}]', '[{"role": "admin", "content": "x"}]', '{"a": 1}'),
        *("[{'role': 'admin'}]", "[sic]", "[1, 2]", "[", "", "[{}]", "{"),
    ],
)
def test_text_that_is_another_list_stays_a_text(text):
    assert parse_messages(text, "it", "assistant") == ({"role": "assistant", "content": text},)


def test_content_of_a_message_is_taken_as_it_is():
    inner = '[{"role": "user", "content": "a"}]'
    assert parse_messages([{"role": "assistant", "content": inner}], "it", "user")[0]["content"] == inner


@pytest.mark.parametrize(
    "parts",
    [
        [{"type": "text", "text": "a"}, {"type": "text", "text": " b"}],
        [{"type": "input_text", "text": "a b"}],
        [{"text": "a"}, " b"],
        ({"type": "output_text", "text": "a b", "annotations": []},),
    ],
)
def test_text_parts_of_a_content_are_joined(parts):
    assert parse_messages([{"role": "user", "content": parts}], "it", "user")[0]["content"] == "a b"


@pytest.mark.parametrize("part", [{"type": "image_url", "image_url": {}}, {"type": "text", "text": None}, 3, None])
def test_other_parts_of_a_content_are_refused(part):
    with refused(DataError, "message 1"):
        parse_messages([{"role": "user", "content": [{"type": "text", "text": "a"}, part]}], "it", "user")


@pytest.mark.parametrize("content", ["", None, "Let me see."])
@pytest.mark.parametrize("key", ["tool_calls", "function_call", "audio"])
def test_parts_of_a_message_that_are_not_read_are_refused(content, key):
    with refused(DataError, "message 1", key):
        parse_response([{"role": "assistant", "content": content, key: [{"name": "kettle"}]}])
    assert parse_response([{"role": "assistant", "content": "a", key: None}])
    assert parse_response([{"role": "assistant", "content": "a", key: []}])


@pytest.mark.parametrize("role", ["user", "system"])
def test_response_must_not_begin_with_a_turn_of_the_prompt(role):
    with refused(DataError, f"of role {role}"):
        parse_response([{"role": role, "content": "q"}, {"role": "assistant", "content": "a"}])
