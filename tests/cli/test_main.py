"""The command as a whole: help, errors, interruption, and output that cannot be written."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from lorerm.cli import VERBS, build_parser, main


@pytest.mark.parametrize("verb", VERBS)
def test_help_is_whole(lorerm, verb):
    outcome = lorerm(verb, "--help")
    assert outcome.code == 0
    assert outcome.out.startswith(f"usage: lorerm {verb}")
    assert "None" not in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 120


def test_help_imports_nothing_heavy():
    """Neither does building the parser of any subcommand."""
    heavy = ("torch", "transformers", "sklearn", "pyarrow", "datasets", "matplotlib", "scipy", "rich", "safetensors")
    script = f"""
import sys
from lorerm.cli import main
try:
    main(["run", "--help"])
except SystemExit:
    pass
sys.exit(", ".join(name for name in {heavy!r} if name in sys.modules) or 0)
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_every_verb_has_a_summary_of_one_line():
    text = build_parser().format_help()
    for verb in VERBS:
        assert verb in text


def test_unknown_verb_and_missing_argument_are_one_line(refuses):
    assert "invalid choice: 'dance'" in refuses("dance")
    assert "required: RUN" in refuses("train")
    assert "--out" in refuses("run", "x.jsonl")
    assert "one of the arguments --user --population is required" in refuses("score", "run", "--data", "x")


def test_control_characters_in_names_are_shown_as_escapes(refuses, tmp_path):
    """A name could otherwise move the terminal's cursor, or break the one line in two."""
    assert "a\\nb\\x1b[2J" in refuses("prepare", "a\nb\x1b[2J.jsonl", "--out", tmp_path / "run")


def test_name_that_is_too_long_is_one_line(refuses, tmp_path):
    refuses("train", tmp_path / ("x" * 300))
    refuses("prepare", "x" * 300, "--out", tmp_path / "run")


def test_interruption_is_one_line_and_130(capsys, monkeypatch, tmp_path, choices_file):
    from lorerm.pipeline import steps

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(steps, "prepare", interrupt)
    assert main(["prepare", str(choices_file), "--out", str(tmp_path / "run")]) == 130
    assert capsys.readouterr().err == "lorerm: interrupted; run the same command again to continue\n"


def test_reader_that_goes_is_no_error(done):
    """As with `| head -1`."""
    script = "import os, sys; r, w = os.pipe(); os.close(r); os.dup2(w, 1); os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-m", "lorerm", "report", str(done)]
    outcome = subprocess.run([sys.executable, "-c", script, *command], capture_output=True, text=True, check=False)
    assert (outcome.returncode, outcome.stderr) == (0, "")


def test_full_disk_behind_the_output_is_one_line(done):
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "lorerm", "report", str(done)]
        outcome = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert outcome.returncode == 2
    assert outcome.stderr.startswith("lorerm: [Errno 28] No space left on device: ")
    assert outcome.stderr.count("\n") == 1


def test_output_that_takes_ascii_only(done):
    """An old terminal, or a pipe in the C locale."""
    command = [sys.executable, "-m", "lorerm", "report", str(done)]
    environment = {"PATH": "", "PYTHONIOENCODING": "ascii", "PYTHONPATH": ":".join(sys.path)}
    outcome = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert outcome.returncode == 0, outcome.stderr
    assert b"Report: " in outcome.stdout


def test_second_time_is_fast(done):
    """What is done needs no model, so nothing heavy is loaded."""
    command = [sys.executable, "-X", "importtime", "-m", "lorerm", "report", str(done)]
    started = time.monotonic()
    outcome = subprocess.run(command, capture_output=True, text=True, check=True)
    assert time.monotonic() - started < 10
    assert not any(line.endswith((" torch", " matplotlib", " sklearn")) for line in outcome.stderr.splitlines())
