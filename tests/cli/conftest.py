"""The command in this process, and a run of it that is done once for all tests."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

import pytest

from lorerm.cli import main
from small_choices import choices, comparisons, write_lines, write_matrix


@dataclass(frozen=True)
class Outcome:
    """What a call of the command gave."""

    code: int
    out: str
    err: str


@pytest.fixture
def lorerm(capsys):
    """Call the command with these arguments."""

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
def refuses(lorerm):
    """Call the command, check that it fails as bad input does, and return its one line."""

    def call(*arguments) -> str:
        outcome = lorerm(*arguments)
        assert outcome.code == 2, outcome
        told = ("warning: ", *(f"{stage}:" for stage in ("embedding", "adapting")))
        lines = [line for line in outcome.err.splitlines() if not line.endswith("...") and not line.startswith(told)]
        assert len(lines) == 1, outcome.err
        assert lines[0].startswith("lorerm"), lines
        assert lines[0].count(": ") >= 2, f"no remedy: {lines[0]}"
        return lines[0]

    return call


@pytest.fixture(scope="session")
def choices_file(tmp_path_factory):
    """The small choices as JSON lines."""
    return write_lines(tmp_path_factory.mktemp("choices") / "choices.jsonl", choices())


@pytest.fixture(scope="session")
def done(tmp_path_factory, choices_file):
    """A finished run: read only, as all tests share it."""
    run = tmp_path_factory.mktemp("done") / "run"
    assert main(["run", str(choices_file), "--out", str(run), "--ranks", "1", "2"]) == 0
    return run


@pytest.fixture
def run(done, tmp_path):
    """A copy of the finished run."""
    return shutil.copytree(done, tmp_path / "copied-run")


@pytest.fixture
def imported(lorerm, tmp_path):
    """A run on imported embeddings, with nothing trained yet."""
    matrix = write_matrix(tmp_path / "m.safetensors")
    table = write_lines(tmp_path / "comparisons.jsonl", comparisons())
    assert lorerm("import-embeddings", matrix, table, "--out", tmp_path / "imported").code == 0
    return tmp_path / "imported"
