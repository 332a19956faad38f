"""A log format is one file and one registered line."""

import sys

import pytest

from lorerm.cli import main
from lorerm.data.preferences import Preferences
from lorerm.data.readers import FORMATS, all_formats, find_format, known_suffixes
from lorerm.data.readers.format import Format

MODULE = """
from lorerm.data.readers.format import Format, Row, open_text

def read(path, user_column):
    with open_text(path) as lines:
        for number, line in enumerate(lines, 1):
            names = user_column, "prompt", "chosen", "rejected"
            yield Row(str(path), number, dict(zip(names, line.rstrip("\\n").split("|"), strict=True)))

FORMAT = Format(read, (".bars",))
"""


@pytest.fixture
def log(tmp_path, monkeypatch):
    """A log in a format that is registered for this test."""
    (tmp_path / "bars_format.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(FORMATS, "Bars", "bars_format")
    yield tmp_path / "log.bars"
    sys.modules.pop("bars_format", None)


def test_formats_of_the_registry():
    assert all(isinstance(one, Format) for one in all_formats())
    suffixes = [suffix for one in all_formats() for suffix in one.suffixes]
    assert len(set(suffixes)) == len(suffixes)
    assert all(suffix in known_suffixes() for suffix in suffixes)


def test_unknown_format(tmp_path):
    assert find_format(tmp_path / "a.txt") is None
    assert find_format(tmp_path) is None


def test_registered_format_is_read_by_preferences(log, tmp_path):
    log.write_text("ann|Tea?|Yes|No\nbob|Tea?|No|Yes\n")
    for path in (log, tmp_path):
        assert Preferences.from_files(path).user_ids.tolist() == ["ann", "bob"]
    assert ".bars" in known_suffixes()


def test_registered_format_is_read_by_the_command(log, tmp_path, capsys):
    lines = [f"u{user}|q{prompt}|good {prompt}|bad {prompt}\n" for user in range(6) for prompt in range(12)]
    log.write_text("".join(lines))
    assert main(["prepare", str(log), "--out", str(tmp_path / "run")]) == 0
    assert "of 72 " in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["prepare", "--help"])
    assert "Bars" in capsys.readouterr().out
