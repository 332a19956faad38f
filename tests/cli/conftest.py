"""Fixtures that call the command in the test process, and a run that is made once for all tests."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

import pytest

from lorerm import cli
from lorerm.cli import main
from small_choices import choices, comparisons, write_lines, write_matrix


@dataclass(frozen=True)
class Outcome:
    """Result of a call of the command."""

    code: int
    out: str
    err: str


@pytest.fixture
def lorerm(capsys):
    """Return a function that calls the command with some arguments."""

    def call(*arguments) -> Outcome:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as leaving:
            code = leaving.code
        shown = capsys.readouterr()
        return Outcome(code, shown.out, shown.err)

    return call


@pytest.fixture
def refuses(lorerm, monkeypatch):
    """Return a function that calls the command and checks that it fails as it does for bad input.

    The error must be of the type `error` and have the given fields of `lorerm.errors.Location`; `names` of the input
    (ids, paths, values, options, commands) must be in the one line that is printed. The line is returned.
    """
    errors = []
    fail = cli._fail
    monkeypatch.setattr(cli, "_fail", lambda error: errors.append(error) or fail(error))

    def call(*arguments, error=None, names=(), **location) -> str:
        errors.clear()
        outcome = lorerm(*arguments)
        assert outcome.code == 2, outcome
        others = ("warning: ", "embedding:", "adapting:")
        lines = [line for line in outcome.err.splitlines() if not line.endswith("...") and not line.startswith(others)]
        assert len(lines) == 1, outcome.err
        assert lines[0].startswith("lorerm"), lines
        assert lines[0].count(": ") >= 2, f"no remedy: {lines[0]}"
        assert all(error.problem and error.remedy for error in errors)
        assert error in (None, *map(type, errors)), errors
        assert {field: getattr(errors[0].location, field) for field in location} == location, lines[0]
        assert [name for name in names if str(name) not in lines[0]] == [], lines[0]
        return lines[0]

    return call


@pytest.fixture(scope="session")
def choices_file(tmp_path_factory):
    """The small choices as JSON lines."""
    return write_lines(tmp_path_factory.mktemp("choices") / "choices.jsonl", choices())


@pytest.fixture(scope="session")
def done(tmp_path_factory, choices_file):
    """A finished run, which no test may change."""
    run = tmp_path_factory.mktemp("done") / "run"
    assert main(["run", str(choices_file), "--out", str(run), "--ranks", "1", "2"]) == 0
    return run


@pytest.fixture
def run(done, tmp_path):
    """A copy of the finished run, which a test may change."""
    return shutil.copytree(done, tmp_path / "copied-run")


@pytest.fixture
def imported(lorerm, tmp_path):
    """A run on imported embeddings, without models."""
    matrix = write_matrix(tmp_path / "m.safetensors")
    table = write_lines(tmp_path / "comparisons.jsonl", comparisons())
    assert lorerm("import-embeddings", matrix, table, "--out", tmp_path / "imported").code == 0
    return tmp_path / "imported"
