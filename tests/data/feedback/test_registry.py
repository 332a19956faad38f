"""A kind of feedback is one file and one registered line."""

import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lorerm.data.feedback import COMMON, KINDS, all_kinds, find_kind, known_columns, looks_like_feedback
from lorerm.data.feedback.kind import Kind
from lorerm.data.preferences import Preferences
from lorerm.errors import DataError
from refusals import refused

MODULE = """
from lorerm.data.feedback.kind import Judged, Kind, Ordering, read_prompt, read_responses

def parse(record, account):
    prompt = read_prompt(record, account)
    values = {name: record[name] for name in ("answer_left", "answer_right")}
    responses = read_responses(values, prompt, "both answers", list(values), account)
    order = {"left": [(0, 1)], "right": [(1, 0)]}.get(record["vote"], [])
    return Judged(prompt, responses, Ordering(order, 1.0, 1 - len(order)))

KIND = Kind(("answer_left", "answer_right", "vote"), lambda record: record.get("vote") is not None, parse)
"""
ROW = {"user_id": "ann", "prompt": "Tea?", "answer_left": "Yes.", "answer_right": "No.", "vote": "right", "margin": 2}


@pytest.fixture
def votes(tmp_path, monkeypatch):
    """A kind of feedback that is registered for this test."""
    (tmp_path / "votes_kind.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    rest = dict(KINDS)
    KINDS.clear()
    KINDS.update({"votes": "votes_kind", **rest})
    yield
    KINDS.clear()
    KINDS.update(rest)
    sys.modules.pop("votes_kind", None)


def test_kinds_of_the_registry():
    assert all(isinstance(kind, Kind) for kind in all_kinds())
    assert not {*COMMON, "user_id"} & {column for kind in all_kinds() for column in kind.columns}
    assert known_columns("worker") >= {"worker", "prompt", "chosen", "rejected", "responses"}


def test_last_kind_names_the_error_of_a_row_that_none_recognises():
    assert find_kind({"prompt": "Tea?"}) is all_kinds()[-1]
    with refused(DataError, '"prompt"', column="chosen"):
        Preferences.from_records([{"user_id": "ann", "prompt": "Tea?"}])


def test_registered_kind_is_read_beside_others_in_every_format(votes, tmp_path):
    rows = [ROW, {**ROW, "vote": "tie"}, {"user_id": "bob", "prompt": "Tea?", "chosen": "Yes.", "rejected": "No."}]
    preferences = Preferences.from_records(rows)
    assert [turns[0]["content"] for turns in preferences.messages("chosen")] == ["No.", "Yes."]
    assert preferences.summary.n_ties == 1
    pq.write_table(pa.Table.from_pylist(rows[:2]), tmp_path / "log.parquet")
    (tmp_path / "log.csv").write_text(";".join(ROW) + "\n" + ";".join(map(str, ROW.values())) + "\n")
    for name in ("log.parquet", "log.csv"):
        found = Preferences.from_files(tmp_path / name)
        assert found == preferences.select([0])
        assert any('"margin"' in sentence for sentence in found.summary.warnings())


@pytest.mark.parametrize("column", ["margin", "Label", "score_chosen", "chosen.1", "chosen_2", "Prompt ID", "messages"])
def test_names_that_look_like_feedback(column):
    assert looks_like_feedback(column)


@pytest.mark.parametrize("column", ["created_at", "model", "id", "session", "lang", "", "1", "user"])
def test_other_names(column):
    assert not looks_like_feedback(column)
