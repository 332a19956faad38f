"""Print the rise of the peak memory, in bytes, while conversations are embedded; run by test_embed.py.

Arguments: a folder to work in, and the number of comparisons, each of two new conversations.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch  # noqa: F401 - imported by the work, which would count it

from lorerm import Preferences
from lorerm.data.stored import RESPONSES, write_preferences
from lorerm.embedding.embed import embed_run
from lorerm.embedding.encoder import EncoderIdentity


class Stub:
    """An encoder that takes hardly any time or memory."""

    identity = EncoderIdentity("stub", None, "none", "none", "float32", None, 256)
    reference = reference_reason = None

    def encode(self, conversations, progress=None):
        return np.full((len(conversations), 256), len(conversations), dtype=np.float32)


def rows(n_pairs):
    for k in range(n_pairs):
        yield {
            "user_id": f"u{k % 50}",
            "prompt": f"{(k * 7919) % n_pairs} " + "why " * 300,
            "chosen": "because " * 40,
            "rejected": "no " * 40,
        }


def peak():
    """The process's own peak; `ru_maxrss` begins with that of the process that started this one."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024


folder, n_pairs = Path(sys.argv[1]), int(sys.argv[2])
if not (folder / RESPONSES).exists():
    write_preferences(folder, Preferences.from_records(rows(n_pairs)))
else:
    before = peak()
    n, _ = embed_run(folder, Stub())
    assert n == 2 * n_pairs, n
    sys.stdout.write(f"{peak() - before}\n")
