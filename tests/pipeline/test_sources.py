"""What a run reads, and how its input is identified."""

from __future__ import annotations

import pytest

from lorerm.errors import ConfigError, DataError
from lorerm.pipeline.sources import describe_files, describe_sources, read_sources
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
    assert describe_sources(["simulated"], {}) == [{"name": "simulated", "sha256": None}]


def test_file_of_a_data_sets_name_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_lines(tmp_path / "simulated", choices())
    assert describe_sources(["simulated"], {})[0]["sha256"] is not None
    assert len(read_sources(["simulated"], "user_id", {"n_users": 3}, {}).preferences) != len(choices())


def test_several_files_are_read_in_order(tmp_path):
    rows = choices()
    paths = [str(write_lines(tmp_path / f"{i}.jsonl", part)) for i, part in enumerate((rows[60:], rows[:60]))]
    preferences = read_sources(paths, "user_id", {}, {}).preferences
    assert list(preferences.user_ids) == [row["user_id"] for row in rows[60:] + rows[:60]]


def test_data_set_takes_options():
    loaded = read_sources(["simulated"], "user_id", {"n_users": 3}, {})
    assert len(set(loaded.preferences.user_ids)) == 3


def test_files_take_no_option_of_a_data_set(tmp_path):
    with refused(ConfigError, "languages"):
        read_sources([str(write_lines(tmp_path / "c.jsonl", choices()))], "user_id", {"languages": ["en"]}, {})


def test_local_copy_of_a_data_set_is_known_by_its_content(tmp_path):
    copy = write_lines(tmp_path / "copy.jsonl", choices())
    (described,) = describe_sources(["tldr"], {"data": str(copy)})
    assert described == {"name": "tldr", "sha256": describe_files([copy])[0]["sha256"]}


@pytest.mark.parametrize("name", ["none.jsonl", "x" * 300])
def test_a_missing_file_is_refused(tmp_path, name):
    with refused(DataError, str(tmp_path / name)):
        describe_files([tmp_path / name])
    with refused(DataError, str(tmp_path / name)):
        describe_sources([str(tmp_path / name)], {})
