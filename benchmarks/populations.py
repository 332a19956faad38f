"""The populations of users of `quality.py`: simulated users with known rewards, and the real users of UKPConvArg1."""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from lorerm import EmbeddedPreferences, split
from lorerm.data.splits import Splits

RANK = 5
# Share of comparisons in which the response with the higher true reward is preferred. It is about the agreement
# measured between annotators with stable preferences.
AGREEMENT = 0.836
# Cosine between two reward directions.
COMMON = 0.5


@dataclass(frozen=True)
class Shape:
    """Numbers of users and comparisons, and the distribution of the embeddings.

    The variance along the j-th principal axis is proportional to j^-decay. For embeddings of language models it falls
    as 1/j or faster.
    """

    seen: int
    unseen: int
    pairs: int
    shots: int
    test: int
    dimension: int
    decay: float = 1.0


SHAPES = {
    "TLDR": Shape(seen=40, unseen=40, pairs=150, shots=50, test=100, dimension=512),
    "TLDR, flat": Shape(seen=40, unseen=40, pairs=150, shots=50, test=100, dimension=1024, decay=0.75),
    "TLDR, white": Shape(seen=40, unseen=40, pairs=150, shots=50, test=100, dimension=1024, decay=0.0),
    "PersonalLLM": Shape(seen=1000, unseen=200, pairs=47, shots=47, test=30, dimension=256),
    "PRISM": Shape(seen=1000, unseen=200, pairs=13, shots=13, test=30, dimension=256),
}


@dataclass(frozen=True)
class Signal:
    """How users differ.

    Parameters
    ----------
    spread
        A user's mixture is this share of an own mixture, plus the remaining share of the mean over all users.
    unreliable
        Share of users with low reliability: their log-odds are a fifth of the log-odds of the other users.
    reference
        Correlation of the reference head's rewards with the rewards of the mean direction. None means no reference
        head.
    concentration
        Concentration of the Dirichlet distribution of the mixtures.
    """

    spread: float = 1.0
    unreliable: float = 0.0
    reference: float | None = None
    concentration: float = 0.1

    def mixtures(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw the mixture weights [n, RANK] of n users over the reward directions."""
        own = rng.dirichlet(np.full(RANK, self.concentration), n)
        return np.asarray(self.spread * own + (1 - self.spread) / RANK)


SIGNALS = {
    "strong": Signal(),
    "weak": Signal(spread=0.3),
    "absent": Signal(spread=0.0),
    "strong, reference head": Signal(reference=0.6),
    "strong, a quarter unreliable": Signal(unreliable=0.25),
    "even mixtures": Signal(concentration=1.0),
}


@dataclass(frozen=True, eq=False)
class Population:
    """The four splits, and the true rewards of a simulated population.

    Parameters
    ----------
    splits
        As `split` returns them.
    basis
        [D, RANK]: the reward directions, in log-odds.
    weights
        The mixture of each user.
    signal
        How users differ.
    """

    splits: Splits
    basis: torch.Tensor | None = None
    weights: dict[str, torch.Tensor] | None = None
    signal: Signal | None = None


def plant(shape: Shape, signal: Signal, seed: int) -> Population:
    """Draw users whose rewards are mixtures of RANK directions, and their comparisons between random responses."""
    rng = np.random.default_rng(seed)
    dimension, people = shape.dimension, shape.seen + shape.unseen
    deviation = np.arange(1, dimension + 1) ** (-shape.decay / 2)
    axes = np.linalg.qr(rng.standard_normal((dimension, dimension)))[0]
    own = rng.standard_normal((dimension, RANK))
    tastes = np.sqrt(1 - COMMON) * own + np.sqrt(COMMON) * rng.standard_normal((dimension, 1))
    mixtures = signal.mixtures(people, rng)

    each = np.where(np.arange(people) < shape.seen, shape.pairs, shape.shots) + shape.test
    who = np.repeat(np.arange(people), each)
    n = len(who)
    features = (rng.standard_normal((2 * n, dimension)) * deviation).astype(np.float32)
    margin = ((features[:n] - features[n:]) @ tastes.astype(np.float32) * mixtures[who]).sum(axis=1)
    scale = _scale_of(margin)
    factor = np.where(rng.random(people) < signal.unreliable, 0.2, 1.0)
    first_is_better = rng.random(n) < 1 / (1 + np.exp(-scale * margin * factor[who]))
    first, second = np.arange(n), np.arange(n, 2 * n)
    basis = torch.from_numpy(scale * axes @ tastes).float()
    data = EmbeddedPreferences.from_arrays(
        features @ axes.T.astype(np.float32),
        np.where(first_is_better, first, second),
        np.where(first_is_better, second, first),
        [f"u{u}" for u in who],
        [f"p{i}" for i in range(n)],
        reference=None if signal.reference is None else _head(axes, deviation, tastes, signal.reference, rng),
    )
    number = np.concatenate([np.arange(count) for count in each])
    train, seen = number < each[who] - shape.test, who < shape.seen
    labels = np.where(seen, np.where(train, "train_seen", "test_seen"), np.where(train, "train_unseen", "test_unseen"))
    splits = Splits.from_labels(data, labels)
    return Population(splits, basis, {f"u{u}": torch.from_numpy(mixtures[u]).float() for u in range(people)}, signal)


def ukpconvarg1(folder: Path, seed: int) -> Population:
    """Read UKPConvArg1 (Habernal & Gurevych 2016), workers with at least 20 comparisons; split it by pair of arguments.

    `folder` has `votes.csv.gz` with the columns user_id, chosen and rejected, rows of `smollm2-135m.safetensors`.
    """
    with gzip.open(folder / "votes.csv.gz", "rt", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    votes = Counter(row["user_id"] for row in rows)
    rows = [row for row in rows if votes[row["user_id"]] >= 20]
    ends = np.array([[int(row["chosen"]), int(row["rejected"])] for row in rows])
    data = EmbeddedPreferences.from_arrays(
        load_file(folder / "smollm2-135m.safetensors")["responses"],
        ends[:, 0],
        ends[:, 1],
        [row["user_id"] for row in rows],
        [f"{low} {high}" for low, high in np.sort(ends, axis=1)],
    )
    return Population(split(data, seed=seed))


def _scale_of(margin: np.ndarray) -> float:
    """Return the scale at which the better response is expected to win a share AGREEMENT of comparisons."""
    low, high = 1e-3, 1e3
    for _ in range(60):
        middle = (low * high) ** 0.5 / margin.std()
        if (1 / (1 + np.exp(-np.abs(margin) * middle))).mean() < AGREEMENT:
            low = (low * high) ** 0.5
        else:
            high = (low * high) ** 0.5
    return float((low * high) ** 0.5 / margin.std())


def _head(
    axes: np.ndarray, deviation: np.ndarray, tastes: np.ndarray, correlation: float, rng: np.random.Generator
) -> np.ndarray:
    """Return a reference head [D] with a given correlation: the mean of the reward directions plus noise."""
    mean, noise = tastes.mean(axis=1) * deviation, rng.standard_normal(len(deviation)) * deviation
    noise -= mean * (noise @ mean) / (mean @ mean)
    rewards = correlation * mean / np.linalg.norm(mean) + (1 - correlation**2) ** 0.5 * noise / np.linalg.norm(noise)
    return np.asarray(axes @ (rewards / deviation))
