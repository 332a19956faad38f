"""Pickles in the layout of the published scripts, with made-up texts and numbers."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch

DIMENSION = 6


def embedding(quality: float, seed: int) -> torch.Tensor:
    """A vector whose first entry says how good the response is."""
    generator = torch.Generator().manual_seed(seed)
    vector = torch.randn(DIMENSION, generator=generator)
    vector[0] = quality
    return vector.bfloat16()


def tldr_entry(post: str, number: int, text: str | None = "") -> dict:
    """One comparison of a worker."""
    return {
        "text": text if text is None else f"Post {post} {number}.",
        "winning_summary": f"good {post} {number}",
        "losing_summary": f"poor {post} {number}",
        "embeddings": {"winning": [embedding(1.0, number)], "losing": [embedding(-1.0, number + 50)]},
    }


def tldr_pickles(folder: Path, n_workers: int = 3, n_train: int = 4, n_valid: int = 2) -> list[Path]:
    """Both files: workers in both splits, one in train alone, one pair on a news article each."""
    workers = [f"worker{i:02d}" for i in range(n_workers)]
    train = {worker: [tldr_entry("train", i) for i in range(n_train)] for worker in workers}
    train["alone"] = [tldr_entry("train", 0), tldr_entry("train", 1)]
    for pairs in list(train.values())[:1]:
        pairs.append(tldr_entry("cnn", 0, None))
    valid = {worker: [tldr_entry("valid", i) for i in range(n_valid)] for worker in workers}
    paths = [folder / "tldr_embeddings_train.pkl", folder / "tldr_embeddings_val.pkl"]
    for path, content in zip(paths, (train, valid), strict=True):
        path.write_bytes(pickle.dumps(content))
    return paths


def prism_pickles(folder: Path, n_dialogues: int = 24) -> list[Path]:
    """Both files as `torch.save` writes them: four users, half of them seen, rejected replies as lists."""
    splits: dict[str, list[dict]] = {"train": [], "test": []}
    for number in range(n_dialogues):
        split = "train" if number % 3 else "test"
        user = number % 4
        for turn in range(2):
            info = {
                "split": split,
                "seen": user < 2,
                "user_id": f"user{user}",
                "dialog_id": f"d{number}",
                "turn_nb": turn,
                "total_turn_nb": 2,
                "chosen_utterance": f"A reply {number} {turn}.",
                "rejected_utterance": [f"Another {number} {turn}.", f"A third one {number}."],
                "chosen_conv_embedding": embedding(1.0, number),
                "rejected_conv_embedding": embedding(-1.0, number + 99),
            }
            prompt = [{"content": f"Hello {number} {turn}?", "role": "user"}]
            splits[split].append({"data_source": "prism", "prompt": prompt, "extra_info": info})
    paths = [folder / f"{name}_embeddings.pkl" for name in splits]
    for path, content in zip(paths, splits.values(), strict=True):
        torch.save(content, path)
    return paths
