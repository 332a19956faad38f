"""The account of an input: what is counted, what is warned of, and which whole columns are refused."""

import pickle

import pytest

from lorerm.data.account import Account, Fact, ReadingSummary
from lorerm.data.preferences import Preferences
from lorerm.errors import DataError
from refusals import refused

PROMPT = "Tell me of bread."


def read(*pairs, prompt=PROMPT):
    """Read rows with these (chosen, rejected) responses."""
    return Preferences.from_records(
        {"user_id": f"u{number}", "prompt": prompt, "chosen": chosen, "rejected": rejected}
        for number, (chosen, rejected) in enumerate(pairs)
    )


@pytest.mark.parametrize(("column", "at"), [("chosen", 0), ("rejected", 1)])
def test_column_of_printed_python_lists_is_refused(column, at):
    """A published pipeline stored all rejected responses like this, and the brackets gave the label away."""
    pairs = [["plain", f"text {n}"] for n in range(3)]
    for n, pair in enumerate(pairs):
        pair[at] = f"['It is text {n}']"
    with refused(DataError, file="records", row=1, column=column):
        read(*pairs)
    pairs[1][at] = "no list"
    assert any(": 2" in line for line in read(*pairs).summary.lines())


@pytest.mark.parametrize(
    "form", ['{{"messages": [{{"role": "user", "content": "{}"}}]}}', '[[{{"role": "user", "content": "{}"}}]]']
)
def test_column_of_objects_with_messages_inside_is_refused(form):
    """Tracing tools store the whole request as JSON."""
    rows = [{"user_id": "u", "prompt": form.format(n), "chosen": "a", "rejected": "b"} for n in range(3)]
    with refused(DataError, file="records", row=1, column="prompt"):
        Preferences.from_records(rows)
    rows[0]["prompt"] = "Tea?"
    (sentence,) = Preferences.from_records(rows).summary.warnings()
    assert ": 2." in sentence


def test_response_that_is_a_json_list_stays_a_text():
    """Users asked for a list: one model answers in JSON, the other in prose."""
    found = read(('["a", "b"]', "Sure: a, b"), ("Sure: c, d", '[{"name": "c"}]'))
    assert found.messages("chosen")[0][0]["content"] == '["a", "b"]'
    assert found.summary.warnings() == []
    assert read(('["a"]', '["b"]')).messages("chosen")[0][0]["content"] == '["a"]'


def test_lists_on_one_side_only_are_warned_of():
    (sentence,) = read(('["a"]', "b"), ('["c"]', "d")).summary.warnings()
    assert sentence.startswith("LEAK")
    assert " 2 " in sentence


def test_column_of_prompts_that_are_lists_is_refused():
    """An arena's export stores the turns of each prompt as a JSON list of strings."""
    with refused(DataError, row=1, column="prompt"):
        read(("a", "b"), prompt='["Tell me of bread.", "And of tea?"]')


@pytest.mark.parametrize("column", ["chosen", "rejected"])
def test_responses_that_all_begin_with_the_prompt_are_refused(column):
    def pair(n):
        return {"chosen": "plain", "rejected": f"other {n}", column: f" Tell me  of bread.\nBread {n}."}.values()

    with refused(DataError, file="records", row=1, column=column):
        read(*(pair(n) for n in range(3)))
    (sentence,) = read(*(pair(n) for n in range(3)), ("Bread", "rye")).summary.warnings()
    assert ": 3." in sentence


@pytest.mark.parametrize("mark", ["\n\nHuman: ", "### User:\n", "<|im_start|>user\n", "[INST] "])
def test_responses_that_are_whole_dialogues_are_refused(mark):
    """Also if the prompt is too short to be recognised."""
    with refused(DataError, row=1, column="chosen"):
        read((f"{mark}hi\n\nAssistant: Hello!", "Hi."), prompt="hi")


def test_short_greeting_may_be_repeated():
    assert read(("Hello! How are you?", "Hello."), prompt="Hello").summary.warnings() == []


@pytest.mark.parametrize("empty", ["", " \n", [{"role": "assistant", "content": ""}]])
def test_responses_without_text_are_counted(empty):
    other = "a" if isinstance(empty, str) else [{"role": "assistant", "content": "a"}]
    (sentence,) = read((other, empty)).summary.warnings()
    assert ": 1." in sentence


def test_messages_in_texts_and_unused_keys_are_in_the_account():
    turn = '[{"role": "assistant", "content": "a", "name": "x"}]'
    summary = read((turn, [{"role": "assistant", "content": "b"}])).summary
    assert summary.warnings() == []
    read_rows, messages, keys = summary.lines()
    assert read_rows.endswith(": 1")
    assert messages.endswith(": 1")
    assert '"name" (1)' in keys


def test_parts_of_an_input_are_added_up():
    account = Account()
    account.start_row("a.csv", 1)
    account.note(Fact.UNUSED_COLUMN, "margin")
    part = account.summary(2, 1)
    total = ReadingSummary.total([part, pickle.loads(pickle.dumps(part)), ReadingSummary(1, 1, 5)])  # noqa: S301
    assert (total.n_rows, total.n_pairs, total.n_ties, total.n_repeated) == (3, 5, 5, 2)
    assert total.counts == {(Fact.UNUSED_COLUMN, "margin"): 2}
    assert total.first == {(Fact.UNUSED_COLUMN, "margin"): ("a.csv", 1)}


def test_files_that_were_not_read_are_counted_and_the_first_are_named(tmp_path):
    paths = [tmp_path / f"{n}.7z" for n in range(7)]
    (sentence,) = ReadingSummary(1, 1, unread=tuple(map(str, paths))).warnings()
    assert ": 7 (" in sentence
    assert "4.7z" in sentence
    assert "5.7z" not in sentence


def test_reasons_for_which_rows_are_left_out_are_counted():
    (sentence,) = ReadingSummary(3, 1, counts={(Fact.LEFT_OUT, "no vote"): 2}).warnings()
    assert sentence.endswith("no vote: 2.")
