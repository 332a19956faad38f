"""Users are listed, exported, imported and purged."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from lorerm.errors import DataError
from lorerm.serving.feedback_store import FeedbackBatch, FeedbackStore
from lorerm.serving.loaded_model import fingerprint
from lorerm.serving.model_series import register
from lorerm.serving.user_data import export_lines, import_lines, list_users, purge, summarise
from refusals import refused
from servers import prepared


def batch(key, kept=None):
    return FeedbackBatch(key, b"\0digest", 2, np.ones((3, 3), np.float32), np.ones(3, np.float32), kept)


@pytest.fixture
def database(url, model):
    """Two users of one model, one of whom is also a user of another."""
    found = prepared(url)
    other = replace(model, temperature=5.0)
    for each, users in ((model, "ab"), (other, "a")):
        series = register(found, each, fingerprint(each))
        for user in users:
            store = FeedbackStore(found, fingerprint(each), series)
            store.append(user, store.load(user), batch("1"))
            store.append(user, store.load(user), batch("2", b"\1\2\3\4\5\6"))
    yield found
    found.close()


def test_users_are_listed_by_series(database, model):
    found = {each.series: each for each in summarise(database)}
    mine = found[fingerprint(model)]
    assert (len(found), mine.users, mine.requests, mine.feedback, mine.kept) == (2, 2, 4, 8, 2)
    assert (fingerprint(model), "b", 4) in list(list_users(database))


def test_what_is_exported_can_be_imported_into_either_type_of_database(database, model, tmp_path):
    lines = list(export_lines(database))
    other = prepared(f"sqlite:///{tmp_path / 'other.sqlite'}")
    assert import_lines(other, lines, "file") == (3, 0)
    assert list(export_lines(other)) == lines
    assert import_lines(other, lines, "file") == (0, 3)
    assert list(export_lines(other)) == lines
    stored = FeedbackStore(other, fingerprint(model)).load("a")
    assert [each.key for each in stored.batches] == ["1", "2"]
    other.close()


def test_one_users_data_can_be_exported(database):
    rows = [json.loads(line) for line in export_lines(database, ["b"])]
    assert {row["user_id"] for row in rows if "user_id" in row} == {"b"}


@pytest.mark.parametrize(
    "line", ["", "[]", "{}", '{"table": "erasures"}', '{"table": "users", "model": "m"}', '{"table": "users", "x": 1}']
)
def test_other_lines_are_refused_and_nothing_is_added(database, tmp_path, line):
    other = prepared(f"sqlite:///{tmp_path / 'other.sqlite'}")
    with refused(DataError, file="file", row=2):
        import_lines(other, [*list(export_lines(database))[:1], line], "file")
    assert list(export_lines(other)) == []
    other.close()


def test_users_and_series_are_purged(database, model):
    assert purge(database, [], ["b"]) == 1
    assert [user for _, user, _ in list_users(database)] == ["a", "a"]
    assert purge(database, [fingerprint(model)], []) == 1
    assert len(list(list_users(database))) == 1
    assert fingerprint(model) not in "".join(export_lines(database))
