"""Comparisons of a few users between short and long responses, for a complete run in one or two seconds."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

N_USERS, N_PROMPTS = 8, 15
TOPICS = [
    "bread",
    "tea",
    "rain",
    "chess",
    "rivers",
    "maps",
    "clocks",
    "bees",
    "glass",
    "wool",
    "salt",
    "boats",
    "trains",
    "owls",
    "chalk",
]
MARK = "zanzibar"
"""A word that is in every text and in no id. Output that must not contain texts is searched for it."""


def choices(n_users: int = N_USERS, n_prompts: int = N_PROMPTS) -> list[dict[str, str]]:
    """Return one comparison of each user on each prompt.

    The first half of the users prefers the long response, the other users the short one, with a few exceptions.
    """
    rows = []
    for user in range(n_users):
        for topic in TOPICS[:n_prompts]:
            long = f"{MARK} {topic} is a subject of which one could say a great deal, and many people do. " * 3
            short = f"{topic}, {MARK}!"
            slip = hashlib.sha256(f"{user} {topic}".encode()).digest()[0] < 30
            better, worse = (long, short) if (user < n_users / 2) != slip else (short, long)
            rows.append(
                {
                    "user_id": f"user-{user:02d}",
                    "prompt": f"What do you say about {topic}, {MARK}?",
                    "chosen": better,
                    "rejected": worse,
                }
            )
    return rows


def write_lines(path: Path, rows: list[object]) -> Path:
    """Write JSON lines."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def write_matrix(path: Path, rows: int = 30, dimension: int = 4, dtype: str = "float32", **extra: object) -> Path:
    """Write a safetensors file with a matrix `responses` of random numbers, and what else is given."""
    import torch
    from safetensors.torch import save_file

    matrix = torch.from_numpy(np.random.default_rng(0).standard_normal((rows, dimension)))
    save_file({"responses": matrix.to(getattr(torch, dtype)), **extra}, path)
    return path


def comparisons(n_users: int = 6, n_pairs: int = 15) -> list[dict[str, object]]:
    """Every user compares rows 0 and 15, 1 and 16, ... of a matrix of 30."""
    flip = np.random.default_rng(1).random((n_users, n_pairs)) < 0.5
    return [
        {"user_id": f"00{user}", "chosen": pair + 15 * flipped, "rejected": pair + 15 * (1 - flipped)}
        for user in range(n_users)
        for pair in range(n_pairs)
        for flipped in [int(flip[user, pair])]
    ]


def contents(run: Path) -> dict[str, bytes]:
    """Every file of a run but its manifest, with its bytes."""
    return {
        path.relative_to(run).as_posix(): path.read_bytes()
        for path in sorted(run.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }
