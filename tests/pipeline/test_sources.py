"""The input of a run, and its content hash."""

from __future__ import annotations

import pytest

from lorerm.errors import ConfigError, DataError
from lorerm.pipeline.experiment import Experiment
from lorerm.pipeline.sources import Source, describe_files
from refusals import refused
from small_choices import choices, write_lines


def test_the_hash_is_of_the_content_and_not_of_the_path(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "c.jsonl").write_text("same")
    first, second = describe_files([tmp_path / "a" / "c.jsonl", tmp_path / "b" / "c.jsonl"])
    assert first == second
    assert first["name"] == "c.jsonl"
    (tmp_path / "b" / "c.jsonl").write_text("other")
    assert describe_files([tmp_path / "b" / "c.jsonl"])[0]["sha256"] != first["sha256"]


def test_folder_is_known_by_its_files_and_their_names(tmp_path):
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "a").write_text("1")
    before = describe_files([folder])
    (folder / "a").rename(folder / "b")
    assert describe_files([folder]) != before


def test_data_set_has_a_name_only():
    assert Source(["simulated"]).describe() == [{"name": "simulated", "sha256": None}]


def test_file_of_a_data_sets_name_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_lines(tmp_path / "simulated", choices())
    assert Source(["simulated"]).describe()[0]["sha256"] is not None
    assert len(Source(["simulated"], Experiment(data={"n_users": 3})).read().preferences) != len(choices())


def test_several_files_are_read_in_order(tmp_path):
    rows = choices()
    paths = [str(write_lines(tmp_path / f"{i}.jsonl", part)) for i, part in enumerate((rows[60:], rows[:60]))]
    preferences = Source(paths).read().preferences
    assert list(preferences.user_ids) == [row["user_id"] for row in rows[60:] + rows[:60]]


def test_data_set_takes_options():
    loaded = Source(["simulated"], Experiment(data={"n_users": 3})).read()
    assert len(set(loaded.preferences.user_ids)) == 3


def test_files_take_no_option_of_a_data_set(tmp_path):
    with refused(ConfigError, "languages"):
        Source([str(write_lines(tmp_path / "c.jsonl", choices()))], Experiment(data={"languages": ["en"]})).read()


def test_local_copy_of_a_data_set_is_known_by_its_content(tmp_path):
    copy = write_lines(tmp_path / "copy.jsonl", choices())
    (described,) = Source(["tldr"], Experiment(data={"data": str(copy)})).describe()
    assert described == {"name": "tldr", "sha256": describe_files([copy])[0]["sha256"]}


@pytest.mark.parametrize("name", ["none.jsonl", "x" * 300])
def test_a_missing_file_is_refused(tmp_path, name):
    with refused(DataError, str(tmp_path / name)):
        describe_files([tmp_path / name])
    with refused(DataError, str(tmp_path / name)):
        Source([str(tmp_path / name)]).describe()


def test_options_of_a_data_set_are_the_experiments_and_the_local_copy():
    source = Source(["tldr"], Experiment(data={"revision": "abc"}), local_copy="here")
    assert source.options == {"revision": "abc", "data": "here"}
    assert Source(["tldr"], Experiment()).options == {}
