"""Progress of the command: bars on a terminal, a few lines if the output is not a terminal."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from lorerm.cli import console
from lorerm.cli.console import output, printable, progress, warn


def test_piped_progress_is_a_line_per_stage_and_tenth(capsys):
    with progress() as show:
        show("reading", 0, 1)
        show("reading", 1, 1)
        for done in range(1001):
            show("embedding", done, 1000)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "reading ..."
    assert lines[1:] == [f"embedding: {done}/1000" for done in range(0, 1001, 100)]


def test_stage_whose_size_is_known_late(capsys):
    """Training announces a rank before it knows the number of steps."""
    with progress() as show:
        show("rank 1", 0, 1)
        show("rank 1", 500, 1000)
        show("rank 1", 1000, 1000)
    assert capsys.readouterr().err.splitlines() == ["rank 1 ...", "rank 1: 500/1000", "rank 1: 1000/1000"]


def test_slow_stage_tells_rate_and_time_left_every_half_minute(capsys, monkeypatch):
    """And counts the rate from where this run began, not from what was done before it."""
    now = 0.0
    monkeypatch.setattr(console.time, "monotonic", lambda: now)
    with progress() as show:
        for done in range(4_000, 10_001, 10):
            show("embedding", done, 10_000)
            now += 5.0
    first, second, *rest = capsys.readouterr().err.splitlines()
    assert first == "embedding: 4000/10000"
    assert second == "embedding: 4060/10000, 2/s, 50 min left"
    assert len(rest) == pytest.approx(6_000 / 60, abs=1)
    assert rest[-1] == "embedding: 10000/10000, 2/s"


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.2, "0 s"), (99, "99 s"), (100, "2 min"), (5_900, "98 min"), (12_000, "3 h 20 min")]
)
def test_duration(seconds, said):
    assert console.duration(seconds) == said


def on_terminal(script):
    """Run a script with a terminal as its standard error; return its standard output and what the terminal got."""
    pty = pytest.importorskip("pty", reason="pseudo-terminals are of POSIX")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-c", f"from lorerm.cli.console import progress\n{script}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, env=environment, check=True)
    os.close(theirs)
    shown = b""
    try:
        while block := os.read(ours, 65536):
            shown += block
    except OSError:  # how a closed terminal ends on Linux
        pass
    os.close(ours)
    return done.stdout, shown


def test_terminal_shows_a_bar_that_ends_full():
    script = """
import time
with progress() as show:
    for done in range(50):
        show("embedding [x]", done + 1, 50)
        time.sleep(0.004)
"""
    _, shown = on_terminal(script)
    assert b"50/50" in shown
    assert b"/s" in shown
    assert shown.count(b"\n") < 5, "one line, drawn over and over"


def test_a_result_between_two_bars_goes_to_standard_output():
    """The bar above it stays as it is, and is not drawn again below."""
    script = """
with progress() as show:
    show("reading", 1, 1)
    show.interrupt(lambda: print("4 comparisons"))
    show("embedding", 2, 2)
"""
    out, shown = on_terminal(script)
    assert out == b"4 comparisons\n"
    assert 0 < shown.index(b"reading") < shown.rindex(b"reading") < shown.index(b"embedding")


def test_output_leaves_markup_and_emoji_codes_alone(capsys):
    output().print("runs/[bold]a[/bold]:smile:", soft_wrap=True)
    assert capsys.readouterr().out == "runs/[bold]a[/bold]:smile:\n"


def test_warnings_go_to_standard_error(capsys):
    warn(["users [a] and b\x1b are odd."])
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "warning: users [a] and b\\x1b are odd.\n"


@pytest.mark.parametrize(
    ("text", "shown"), [("Ünal 🦉", "Ünal 🦉"), ("a\nb", "a\\nb"), ("\x1b[2J", "\\x1b[2J"), ("", "")]
)
def test_printable(text, shown):
    assert printable(text) == shown
