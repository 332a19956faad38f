import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorerm.data.printed import holds_chat_roles, is_json, is_list_of_strings, list_in, number_in

texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(texts | st.integers() | st.none() | st.booleans(), lambda inner: st.lists(inner, max_size=3))


@given(st.lists(texts, min_size=1))
def test_every_printed_list_of_strings_is_recognised(strings):
    assert is_list_of_strings(json.dumps(strings))
    assert is_list_of_strings(f"  {strings!r}\n")


@pytest.mark.parametrize(
    "text", ["", "[", "[]", "[sic]", "[1, 2]", "['a', 1]", "['a'", "[" * 5000 + "]" * 5000, "(1)", r"['\d']x]"]
)
def test_other_text_is_no_printed_list_of_strings(text):
    assert not is_list_of_strings(text)


def test_invalid_escape_raises_no_warning():
    assert is_list_of_strings(r"['\d']")


@given(st.lists(values, max_size=4))
def test_entries_of_a_list_are_those_of_its_printed_form(entries):
    assert (
        list_in(entries) == list_in(tuple(entries)) == list_in(repr(entries)) == list_in(json.dumps(entries)) == entries
    )


@pytest.mark.parametrize("value", [None, 3, "a, b", "{'a': 1}", {"a": 1}, "[1 2", "[a]", "[object]"])
def test_value_that_is_no_list(value):
    assert list_in(value) is None


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**9), 10**9))
def test_number_is_that_of_its_text(number):
    assert number_in(number) == number_in(f" {number!r} ") == number


@pytest.mark.parametrize("value", ["", "nan", "inf", "1_000", "1,5", "one", None, True, [1], "1e999"])
def test_value_that_is_no_finite_number(value):
    assert number_in(value) is None


def test_printed_by_python_is_no_json():
    assert is_json('["a"]')
    assert not is_json("['a']")
    assert not is_json("[" * 100_000)


@given(
    st.lists(
        st.floats(-1e6, 1e6) | st.integers(-999, 999) | texts | st.dictionaries(texts, texts, max_size=2),
        min_size=1,
        max_size=6,
    )
)
def test_arrays_of_numpy_are_read_as_they_are_printed(entries):
    """As `Dataset.to_csv` and pandas write lists: Python would join adjacent strings to one."""
    array = np.empty(len(entries), dtype=object)
    array[:] = entries
    assert list_in(str(array)) == entries
    nested = np.empty(2, dtype=object)
    nested[:] = [array, array]
    assert list_in(str(nested)) == [entries, entries]


@pytest.mark.parametrize("text", ["[1.  2.5 -1. ]", "[1 2.5\n -1]"])
def test_numbers_of_numpy(text):
    assert list_in(text) == [1, 2.5, -1]


@pytest.mark.parametrize("text", ["{'role': 'user'}", '{"a": {"b": [{"from": "gpt"}]}}', '[1, {"role": "tool"}]'])
def test_roles_inside_of_printed_values(text):
    assert holds_chat_roles(text)


@pytest.mark.parametrize("text", ['{"role": "admin"}', '["user"]', "role: user", '{"role": []}', "", "["])
def test_values_without_roles(text):
    assert not holds_chat_roles(text)
