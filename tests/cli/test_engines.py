"""Subcommands on a Ray cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset
import pytest
import torch
from safetensors.torch import load_file

from lorerm.errors import ConfigError
from small_choices import MARK, choices, contents, write_lines

ADAPTED = "adapted.safetensors"


def command(*arguments, **environment):
    """The command in a process of its own, which is not connected to Ray."""
    return subprocess.run(
        [sys.executable, "-W", "error:::lorerm", "-m", "lorerm", *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture
def temporary():
    """A folder with a short path, because paths of sockets are short, for the cluster that a command starts."""
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        yield Path(folder)


@pytest.mark.xdist_group("ray")
def test_embed_starts_a_cluster_and_leaves_nothing_behind(lorerm, done, choices_file, tmp_path, temporary):
    """Same bytes as in one process; only results on standard output; no texts in Ray's logs."""
    pytest.importorskip("ray")
    run = tmp_path / "run"
    assert lorerm("prepare", choices_file, "--out", run).code == 0
    outcome = command("embed", run, "--engine", "ray", "--ray-workers", 2, RAY_ADDRESS="", RAY_TMPDIR=str(temporary))
    assert (outcome.returncode, outcome.stdout) == (0, f"Next: lorerm train {run}\n"), outcome
    assert "Traceback" not in outcome.stderr
    assert "embedding: 30/30" in outcome.stderr
    made, whole = contents(run), contents(done)
    assert made == {name: whole[name] for name in made}
    recorded = json.loads((run / "manifest.json").read_text())["steps"]["embed"]
    assert recorded["result"]["running"] == {"engine": "ray", "workers": 2}
    assert lorerm("embed", run).code == 0, "the engine is not recorded as a setting of the run"

    written = [path.read_bytes() for path in temporary.rglob("*") if path.is_file()]
    assert any(b"ray" in content for content in written)
    assert not any(MARK.encode() in content for content in written)
    assert not processes_of(temporary)


def processes_of(folder) -> list[str]:
    """The command lines of processes that name a folder."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # the process may have ended
            lines.append(path.read_bytes().decode(errors="replace"))
    return [line for line in lines if str(folder) in line]


def test_adapt_gives_the_weights_of_the_local_engine(ray, lorerm, run, tmp_path):
    """From a folder partitioned by user."""
    rows = [{**row, "user_id": f"new {row['user_id']}"} for row in choices(4, 6)]
    lines = write_lines(tmp_path / "feedback.jsonl", rows)
    folder = tmp_path / "feedback"
    pa.dataset.write_dataset(
        pa.Table.from_pylist(rows), folder, format="parquet", partitioning=["user_id"], partitioning_flavor="hive"
    )
    assert lorerm("adapt", run, "--data", lines, "--rank", 2).code == 0
    path = run / "models" / "rank-2" / ADAPTED
    expected = load_file(path)
    path.unlink()

    outcome = lorerm("adapt", run, "--data", folder, "--rank", 2, "--engine", "ray", "--ray-workers", 2)
    assert (outcome.code, outcome.out) == (
        0,
        "Adapted 4 users (4 new, 0 updated, 0 replaced) from 24 new comparisons.\n",
    ), outcome
    found = load_file(path)
    assert found.keys() == expected.keys()
    assert bytes(found["user_ids"].tolist()) == bytes(expected["user_ids"].tolist())
    for name in expected.keys() - {"user_ids"}:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-6)


def test_options_of_another_engine_are_refused(refuses, run):
    refuses("embed", run, "--ray-workers", 2, error=ConfigError, names=["--ray-workers", "--engine ray"])
    names = ["--ray-address", "--engine ray"]
    refuses("adapt", run, "--data", "a.parquet", "--ray-address", "here:1", error=ConfigError, names=names)


def test_comparisons_that_are_no_parquet_are_refused(ray, refuses, run, tmp_path):
    data = write_lines(tmp_path / "feedback.jsonl", choices(1, 3))
    refuses("adapt", run, "--data", data, "--engine", "ray", names=[data])
