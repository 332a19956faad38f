"""What all kinds of feedback have in common: the prompt, the responses, and the counts of their forms."""

import pytest

from lorerm.data.account import Account, Fact
from lorerm.data.feedback.kind import in_column, read_prompt, read_responses, required
from lorerm.errors import DataError
from refusals import refused

PROMPT = ({"role": "user", "content": "Tell me of bread."},)
ASSISTANT = [{"role": "assistant", "content": "a"}]


def read(*values):
    account = Account()
    names = {f"response {number}": value for number, value in enumerate(values)}
    found = read_responses(names, PROMPT, "the responses", ["responses"] * len(values), account)
    return [response[-1]["content"] for response in found], {
        fact: n for (fact, _), n in account.summary(1, 0).counts.items()
    }


@pytest.mark.parametrize(
    ("values", "texts", "counts"),
    [
        (["a", "b"], ["a", "b"], {Fact.TEXT: 2}),
        ([ASSISTANT, ASSISTANT], ["a", "a"], {}),
        ([ASSISTANT, str(ASSISTANT)], ["a", "a"], {Fact.READ_AS_MESSAGES: 1}),
        (["a", ""], ["a", ""], {Fact.TEXT: 2, Fact.EMPTY: 1}),
        (["['a']", '["a"]'], ["['a']", '["a"]'], {Fact.TEXT: 2, Fact.LIST: 2, Fact.PYTHON_LIST: 1}),
        (["Tell me\nof bread. Rye.", "Rye."], None, {Fact.TEXT: 2, Fact.REPEATS_PROMPT: 1}),
        ([[{**ASSISTANT[0], "name": "x", "id": None}]], ["a"], {Fact.UNUSED_KEY: 1}),
    ],
)
def test_responses_and_the_counts_of_their_forms(values, texts, counts):
    found, counted = read(*values)
    assert found == (texts or values)
    assert counted == counts


@pytest.mark.parametrize("values", [["a", ASSISTANT], [str(ASSISTANT), "a"]])
def test_texts_beside_messages_are_refused(values):
    with refused(DataError, "the responses", column="responses"):
        read(*values)


def test_response_is_named():
    with refused(DataError, "response 1", column="responses"):
        read("a", None)


def test_prompt():
    assert read_prompt({"prompt": PROMPT[0]["content"]}, Account()) == PROMPT
    for record in ({"prompt": " "}, {"prompt": None}, {}):
        with refused(DataError, column="prompt"):
            read_prompt(record, Account())


def test_value_that_a_row_must_have():
    assert required({"chosen": ""}, "chosen") == ""
    with refused(DataError, '"other"', column="chosen"):
        required({"other": 1}, "chosen")
    with refused(DataError, "CSV", column="chosen"):
        required({"chosen": None}, "chosen")


def test_column_is_added_to_an_error():
    with refused(DataError, "wrong", column="prompt"), in_column("prompt"):
        raise DataError("wrong", "correct it")
