"""Errors on a full disk, simulated by the operating system's limit on the size of files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from small_choices import contents

resource = pytest.importorskip("resource", reason="limits are of POSIX")

EVERYTHING = (
    "manifest.json",
    "responses.parquet",
    "comparisons.parquet",
    "embeddings",
    "models",
    "report",
    "shots.json",
)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond some bytes; Python ignores the signal, so that the write fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("lost", "limit", "file"),
    [
        (EVERYTHING, 500, "manifest.json"),
        (EVERYTHING, 2_200, "responses.parquet"),
        (EVERYTHING, 50_000, "embeddings-00001-of-00001/batch-00000.safetensors"),
        (("models", "report"), 6_000, "rank-2/model.safetensors"),
        (("report",), 60_000, "report/report.html"),
    ],
)
def test_is_one_line_and_the_same_command_goes_on(lorerm, run, done, choices_file, lost, limit, file):
    for name in lost:
        path = run / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    if lost == ("models", "report"):  # as if they had never been there, or the manifest would be larger than a model
        manifest = json.loads((run / "manifest.json").read_text())
        steps = {name: step for name, step in manifest["steps"].items() if name in ("prepare", "embed")}
        (run / "manifest.json").write_text(json.dumps({**manifest, "steps": steps}))
    arguments = ["run", choices_file, "--out", run, "--ranks", 1, 2]
    with largest_file(limit):
        outcome = lorerm(*arguments)
    last = outcome.err.splitlines()[-1]
    assert outcome.code == 2, outcome
    assert last.startswith(f"lorerm: {run}")
    assert file in last
    assert "could not be written (" in last
    assert "File too large): free some disk space" in last
    assert not list(run.rglob(".*")), "nothing half written is left"
    assert lorerm(*arguments).code == 0
    assert contents(run) == contents(done)
