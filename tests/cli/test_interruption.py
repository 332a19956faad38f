"""After an interrupted or killed command, the same command repeats little, and its files have identical bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from lorerm import HashingEncoder
from lorerm.cli import main
from lorerm.embedding import store
from lorerm.errors import FolderBusyError
from small_choices import contents

SHARD_ROWS = 8
N_RESPONSES = 30

# The command with small shards, which sends itself a signal at a point that the environment names. It restores Python's
# handler of SIGINT, because a process started by a parent that ignores SIGINT, such as a job in the background of a
# shell, ignores it too.
SCRIPT = """
import os, signal, sys
import lorerm.cli.embed
from lorerm.cli import main
from lorerm.embedding import store
from lorerm.embedding.hashing import HashingEncoder
from lorerm.pipeline.folder import RunFolder

signal.signal(signal.SIGINT, signal.default_int_handler)
store.SHARD_ROWS = int(os.environ["SHARD_ROWS"])
point, count, number = os.environ["POINT"], int(os.environ["COUNT"]), int(os.environ["SIGNAL"])
seen = 0

def reached(name):
    global seen
    seen += name == point
    if name == point and seen == count:
        os.kill(os.getpid(), number)

class OneByOne(HashingEncoder):
    def encode(self, conversations, progress=None):
        import numpy as np

        rows = []
        for i, conversation in enumerate(conversations, 1):
            reached("row")
            rows.append(super().encode([conversation])[0])
            if progress is not None:
                progress(i, len(conversations))
        return np.stack(rows)

finish_part = RunFolder.finish_part

def marking(self, step, part):
    finish_part(self, step, part)
    reached("rank")

RunFolder.finish_part = marking
lorerm.cli.embed.make_encoder = lambda settings, parsed: OneByOne()
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("script") / "slow.py"
    path.write_text(SCRIPT)
    return path


@pytest.fixture
def start(script):
    """Run the command in a process that sends itself a signal when it reaches a point for the n-th time.

    It is started while SIGINT is ignored here, as the process that runs the tests may ignore it.
    """

    def call(*arguments, point, count, number=signal.SIGKILL):
        environment = {
            **os.environ,
            "SHARD_ROWS": str(SHARD_ROWS),
            "POINT": point,
            "COUNT": str(count),
            "SIGNAL": str(int(number)),
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, script, *map(str, arguments)]
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        finally:
            signal.signal(signal.SIGINT, handler)

    return call


@pytest.fixture(scope="module")
def whole(tmp_path_factory, choices_file):
    """The files of the same run without an interruption."""
    out = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "SHARD_ROWS", SHARD_ROWS)
        assert main(["run", str(choices_file), "--out", str(out), "--ranks", "1", "2"]) == 0
    return contents(out)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_in_the_middle_of_embedding(lorerm, start, whole, tmp_path, choices_file, number, monkeypatch):
    """In the third of four shards: the first two are not embedded again."""
    arguments = ["run", choices_file, "--out", tmp_path / "run", "--ranks", 1, 2]
    stopped = start(*arguments, point="row", count=2 * SHARD_ROWS + 3, number=number)
    if number == signal.SIGINT:
        assert stopped.returncode == 130
        assert stopped.stderr.splitlines()[-1].startswith("lorerm: interrupted; ")
        assert "Traceback" not in stopped.stderr
    else:
        assert stopped.returncode == -number
    assert len(list((tmp_path / "run" / "embeddings").glob("*.safetensors"))) == 2

    encode, encoded = HashingEncoder.encode, []
    monkeypatch.setattr(
        HashingEncoder,
        "encode",
        lambda self, texts, progress=None: encoded.append(len(texts)) or encode(self, texts, progress),
    )
    monkeypatch.setattr(store, "SHARD_ROWS", SHARD_ROWS)
    assert lorerm(*arguments).code == 0
    assert sum(encoded) == N_RESPONSES - 2 * SHARD_ROWS
    assert contents(tmp_path / "run") == whole


def test_between_the_ranks_of_training(lorerm, start, whole, tmp_path, choices_file, monkeypatch):
    """A rank that is finished is not trained again."""
    arguments = ["run", choices_file, "--out", tmp_path / "run", "--ranks", 1, 2]
    assert start(*arguments, point="rank", count=1).returncode == -signal.SIGKILL
    monkeypatch.setattr(store, "SHARD_ROWS", SHARD_ROWS)
    again = lorerm(*arguments)
    assert again.code == 0
    assert "rank 1 ..." not in again.err
    assert "rank 2 ..." in again.err
    assert contents(tmp_path / "run") == whole


def test_at_every_writing_of_the_manifest(lorerm, whole, tmp_path, choices_file, monkeypatch):
    """Interrupted before the first writing of the manifest, then the second, and so on: the next command continues."""
    from lorerm.pipeline.folder import RunFolder

    monkeypatch.setattr(store, "SHARD_ROWS", SHARD_ROWS)
    write = RunFolder.write
    remaining = 0

    def interrupted(self, manifest):
        nonlocal remaining
        if remaining == 0:
            raise KeyboardInterrupt
        remaining -= 1
        write(self, manifest)

    monkeypatch.setattr(RunFolder, "write", interrupted)
    codes = []
    for attempt in range(30):
        remaining = attempt
        codes.append(lorerm("run", choices_file, "--out", tmp_path / "run", "--ranks", 1, 2).code)
        if codes[-1] == 0:
            break
    assert set(codes[:-1]) == {130}
    assert codes[-1] == 0
    assert contents(tmp_path / "run") == whole


def test_leftovers_of_a_killed_process_are_swept(lorerm, run, choices_file):
    for folder in (run, run / "embeddings", run / "models" / "rank-1"):
        (folder / ".x.0123.partial.parquet").write_text("half")
    assert lorerm("run", choices_file, "--out", run, "--ranks", 1, 2, 3).code == 0
    assert not list(run.rglob(".*"))


def test_second_process_is_refused_while_the_first_writes(refuses, run):
    """The lock ends with the first process."""
    holder = f"""
import sys
from pathlib import Path
from lorerm.pipeline.folder import locked
with locked(Path({str(run)!r})):
    print("held", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        refuses("train", run, "--ranks", 1, error=FolderBusyError, names=[run])
        process.stdin.close()
        process.wait()
    assert json.loads((run / "manifest.json").read_text())["steps"]["train"]["finished"]
