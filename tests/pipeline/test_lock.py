"""One process at a time; `tests/cli/test_interruption.py` tries it with two."""

from __future__ import annotations

import pytest

from lorerm.errors import RunError
from lorerm.pipeline.lock import locked


def test_second_is_refused_until_the_first_ends(tmp_path):
    with locked(tmp_path), pytest.raises(RunError, match="another lorerm is writing into"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_ends_with_an_error_too(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        raise ZeroDivisionError
    with locked(tmp_path):
        pass


def test_other_folders_are_free_and_no_file_is_left(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with locked(tmp_path / "a"), locked(tmp_path / "b"):
        assert not list((tmp_path / "a").iterdir())
