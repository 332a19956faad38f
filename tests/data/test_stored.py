"""Preferences on disk come in chunks, as often as one likes."""

from __future__ import annotations

import pyarrow as pa
import pytest

from lorerm import Preferences
from lorerm.data import table
from lorerm.data.stored import StoredPreferences
from lorerm.errors import DataError
from small_choices import choices


def test_chunks_are_the_whole_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "_ROWS_READ", 50)
    preferences = Preferences.from_records(choices())
    preferences.write_parquet(tmp_path / "a.parquet")
    stored = StoredPreferences(tmp_path / "a.parquet")
    for _ in range(2):
        chunks = list(stored)
        assert [len(chunk) for chunk in chunks] == [50, 50, 20]
        assert (
            pa.concat_tables([chunk.table for chunk in chunks]).combine_chunks() == preferences.table.combine_chunks()
        )


def test_what_is_not_in_the_normal_form_is_refused_at_once(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        StoredPreferences(tmp_path / "a.parquet")
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        StoredPreferences(tmp_path / "a.parquet")


def test_damage_shows_when_it_is_read(tmp_path):
    path = tmp_path / "a.parquet"
    Preferences.from_records(choices()).write_parquet(path)
    content = bytearray(path.read_bytes())
    content[4:200] = bytes(196)
    path.write_bytes(content)
    with pytest.raises(DataError, match="not a readable Parquet file"):
        list(StoredPreferences(path))
