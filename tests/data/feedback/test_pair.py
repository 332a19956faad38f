import pytest

from lorerm.data.feedback.rows import parse_row
from lorerm.errors import DataError
from refusals import refused

ROW = {"user_id": "ann", "prompt": "q", "chosen": "a", "rejected": "b"}
ASSISTANT = [{"role": "assistant", "content": "a"}]


def only_comparison(**changes):
    (comparison,) = parse_row({**ROW, **changes})
    return comparison


@pytest.mark.parametrize(
    ("chosen", "rejected"),
    [
        ("a", ["b"]),
        (["a"], "b"),
        ("a", [{"role": "assistant", "content": "b"}]),
        ("a", '[{"role": "assistant", "content": "b"}]'),
    ],
)
def test_mixed_string_and_list_is_refused(chosen, rejected):
    """In a published pipeline, the brackets of the rejected side gave the chosen response away."""
    with refused(DataError, "chosen", "rejected", column="rejected"):
        only_comparison(chosen=chosen, rejected=rejected)


def test_lists_of_plain_strings_are_refused():
    with refused(DataError, column="chosen"):
        only_comparison(chosen=["a"], rejected=["b"])


def test_printed_list_is_accepted_in_messages_or_on_both_sides():
    assert only_comparison(chosen="['a']", rejected="['b']").chosen[0]["content"] == "['a']"
    printed = [{"role": "assistant", "content": "['b']"}]
    assert only_comparison(chosen=ASSISTANT, rejected=printed).rejected == tuple(printed)


@pytest.mark.parametrize(("chosen", "rejected"), [("a", "a"), (ASSISTANT, ASSISTANT), ("", "")])
def test_equal_responses_are_refused(chosen, rejected):
    with refused(DataError, "chosen", "rejected", column="rejected"):
        only_comparison(chosen=chosen, rejected=rejected)


def test_empty_response_is_a_response():
    assert only_comparison(rejected="").rejected == ({"role": "assistant", "content": ""},)


def test_response_that_repeats_the_prompt_is_refused():
    whole = [{"role": "user", "content": "q"}, *ASSISTANT]
    other = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}]
    with refused(DataError, column="chosen"):
        only_comparison(chosen=whole, rejected=other)
