"""Embed into run folders in processes that are killed, and check the result; run by test_embed.py.

Arguments: a folder to work in, and the folder of a model. Prints three numbers: the batches, the processes that were
killed in separate run folders, and the processes that were killed one after the other in the same run folder.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from lorerm import Preferences
from lorerm.data.stored import write_preferences
from lorerm.embedding import store
from lorerm.embedding.embed import embed_run
from lorerm.embedding.transformers.last_token import TransformersEncoder
from lorerm.pipeline.folder import RunFolder

torch.set_num_threads(1)
store.SHARD_ROWS = 16
FOLDER = Path(sys.argv[1])
ENCODER = TransformersEncoder(sys.argv[2], batch_tokens=64)
RUN = ENCODER.run
GENERATOR = random.Random(0)  # noqa: S311 - no secret
PREFERENCES = Preferences.from_records(
    [{"user_id": "u", "prompt": f"Why {k % 7}?", "chosen": f"Because {k}.", "rejected": "No."} for k in range(60)]
)


def start(name):
    """Embed in another process, which records every batch that it has run."""
    log = FOLDER / f"{name}.log"

    def noted(batch):
        embeddings = RUN(batch)
        with log.open("a") as file:
            file.write("x")
        return embeddings

    if not (FOLDER / name).exists():
        (FOLDER / name).mkdir()
        write_preferences(FOLDER / name, PREFERENCES)
    process = os.fork()
    if process == 0:
        ENCODER.run = noted
        embed_run(FOLDER / name, ENCODER)
        os._exit(0)
    return process


def n_run(name):
    log = FOLDER / f"{name}.log"
    return log.stat().st_size if log.exists() else 0


def end(process):
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def kill(process, name, after):
    """Kill the process some time after a number of batches, if it has not ended by then."""
    while n_run(name) < after and not os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        time.sleep(1e-4)
    time.sleep(GENERATOR.random() * 4e-3)
    os.kill(process, signal.SIGKILL)
    return end(process)


def contents(name):
    """Return the bytes of all files, after removing those that were being written when the process died."""
    RunFolder(FOLDER / name).remove_partial_files()
    files = sorted(path for path in (FOLDER / name).rglob("*") if not path.is_dir())
    return {str(path.relative_to(FOLDER / name)): path.read_bytes() for path in files}


assert end(start("whole")) == 0
n, n_killed = n_run("whole"), 0
for moment in range(0, n, 2):
    name = f"killed-{moment}"
    n_killed += kill(start(name), name, moment) == -signal.SIGKILL
    assert end(start(name)) == 0
    assert n <= n_run(name) <= n + 1, (name, n_run(name), n)
    assert contents(name) == contents("whole"), name
code, kills = None, -1
while code != 0:
    code, kills = kill(start("again"), "again", n_run("again") + 2), kills + 1
assert n <= n_run("again") <= n + kills, (n_run("again"), n, kills)
assert contents("again") == contents("whole")
sys.stdout.write(f"{n} {n_killed} {kills}\n")
