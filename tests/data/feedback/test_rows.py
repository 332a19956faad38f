import math

import pytest

from lorerm.data.account import Account, Fact
from lorerm.data.feedback.rows import parse_row
from lorerm.errors import DataError
from refusals import refused

ROW = {"user_id": "ann", "prompt": "q", "chosen": "a", "rejected": "b"}
ASSISTANT = [{"role": "assistant", "content": "a"}]


def only_comparison(**changes):
    (comparison,) = parse_row({**ROW, **changes})
    return comparison


def counts(**changes):
    """Return the facts that the account counts for one row."""
    account = Account()
    parse_row({**ROW, **changes}, account=account)
    return {(fact, name): n for (fact, name), n in account.summary(1, 0).counts.items() if fact is not Fact.TEXT}


def test_normal_form():
    comparison = only_comparison(extra="ignored")
    assert comparison.user_id == "ann"
    assert comparison.prompt == ({"role": "user", "content": "q"},)
    assert comparison.chosen == ({"role": "assistant", "content": "a"},)
    assert comparison.split is None
    assert comparison.weight == 1.0


@pytest.mark.parametrize("prompt", [" q", "q\n", [{"role": "user", "content": "\tq "}]])
def test_white_space_at_the_ends_makes_no_other_prompt(prompt):
    found = only_comparison(prompt=prompt)
    assert found.prompt_id == only_comparison().prompt_id
    assert found.prompt[0]["content"] != "q", "the text itself is kept"


def test_prompt_id_is_a_hash_of_the_prompt_whether_string_or_messages():
    """The expected value is fixed: it must never change, or old and new splits would differ."""
    as_list = only_comparison(prompt=[{"role": "user", "content": "q"}]).prompt_id
    assert only_comparison().prompt_id == as_list == only_comparison(prompt_id="").prompt_id == "7be60628a3ca0c78"
    assert only_comparison(prompt="other").prompt_id != as_list


def test_ids_become_strings():
    assert only_comparison(user_id=7.0, prompt_id="007")[:2] == ("7", "007")


@pytest.mark.parametrize("user", [None, " ", math.nan, True, 1.5, ["a"], "\ud800"])
def test_user_must_have_an_id(user):
    with refused(DataError, column="user_id"):
        only_comparison(user_id=user)


@pytest.mark.parametrize("column", ["user_id", "prompt", "chosen", "rejected"])
def test_absent_column_lists_those_found(column):
    row = {name: value for name, value in ROW.items() if name != column}
    with refused(DataError, *(f'"{name}"' for name in row), column=column):
        parse_row(row)


@pytest.mark.parametrize("column", ["prompt", "chosen", "rejected"])
@pytest.mark.parametrize("value", [None, math.nan])
def test_null_is_a_missing_value(column, value):
    with refused(DataError, column=column):
        only_comparison(**{column: value})


def test_chosen_and_rejected_take_precedence_over_responses():
    assert only_comparison(responses=["x", "y"]).chosen[0]["content"] == "a"
    assert counts(responses=["x", "y"], choice=0)[Fact.UNUSED_COLUMN, "responses"] == 1


def test_row_must_be_a_mapping():
    with refused(DataError, "list"):
        parse_row([1])


@pytest.mark.parametrize("column", ["margin", "label", "score_chosen", "chosen.1", "Chosen_2", "messages", "ratings"])
def test_columns_that_look_like_feedback_are_counted_if_they_have_a_value(column):
    assert counts(**{column: 3})[Fact.UNUSED_COLUMN, column] == 1
    for empty in (None, "", [], math.nan):
        assert (Fact.UNUSED_COLUMN, column) not in counts(**{column: empty})


def test_other_columns_are_passed_over():
    assert counts(created_at="2024", model="m", prompt_id="p") == {}


def test_rows_without_a_prompt_id_are_counted():
    assert counts() == {(Fact.WITHOUT_PROMPT_ID, "prompt_id"): 1}
