"""Errors: their text, their fields, and that both survive pickling, as between processes."""

import pickle

from lorerm.errors import DataError, Location, first_line


def test_text_is_where_what_and_remedy():
    error = DataError("the prompt is empty", "give a prompt", column="prompt").in_row("log.jsonl", 1200)
    assert str(error) == "log.jsonl, row 1,200: the prompt is empty: give a prompt"
    assert error.location == Location("log.jsonl", 1200, "prompt")


def test_text_without_a_location():
    assert str(DataError("there are no comparisons", "give one")) == "there are no comparisons: give one"


def test_fields_survive_pickling():
    error = DataError("the prompt is empty", "give a prompt", file="log.jsonl", row=3, column="prompt", argument="data")
    back = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (str(back), back.location) == (str(error), error.location)


def test_first_line_of_a_message_or_the_name_of_the_type():
    assert (first_line(ValueError("one\ntwo")), first_line(KeyError())) == ("one", "KeyError")
