"""The populations of users of `quality.py`: simulated users with known rewards, and the real users of UKPConvArg1."""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class Shape:
    """Numbers of users and comparisons, and the distribution of the embeddings.

    Parameters
    ----------
    seen, unseen
        Numbers of users.
    pairs, shots, test
        Comparisons per user: training comparisons of a seen user, few-shot comparisons of an unseen user, and test
        comparisons of both.
    dimension
        Number of features D.
    decay
        The variance along the j-th principal axis is proportional to j^-decay. For embeddings of language models it
        falls as 1/j or faster.
    rotated
        Whether the principal axes are random. If not, they are the features themselves, so that the features have very
        different variances.
    tastes
        A name of `TASTES`: the coordinates in which the reward directions are isotropic.
    common
        Correlation between the coefficients of two reward directions.
    prompts
        Number of training prompts, and of test prompts. All users compare the same two responses to a prompt. None:
        each comparison has a prompt of its own.
    effect
        What the features do not explain and all users share: the standard deviation, over prompts, of a term that is
        added to the log-odds of every user, divided by the standard deviation of the log-odds without it.
    """

    seen: int
    unseen: int
    pairs: int
    shots: int
    test: int
    dimension: int
    decay: float = 1.0
    rotated: bool = True
    tastes: str = "raw"
    common: float = 0.5
    prompts: int | None = None
    effect: float = 0.0


# Name -> function from the standard deviations along the principal axes [D] to the standard deviations of a reward
# direction's coefficients along the same axes [D].
TASTES = {
    # A coefficient is as large on an axis of small variance as on one of large variance: the first axes decide.
    "raw": np.ones_like,
    "half-standardised": lambda deviation: deviation**-0.5,
    # Each axis contributes equally to the rewards.
    "white": lambda deviation: 1 / deviation,
    # Only the first 16 axes contribute, or only the second half of all axes; each of these contributes equally.
    "leading": lambda deviation: np.where(np.arange(len(deviation)) < 16, 1 / deviation, 0),
    "trailing": lambda deviation: np.where(np.arange(len(deviation)) >= len(deviation) // 2, 1 / deviation, 0),
}
_FAMILY = Shape(seen=38, unseen=38, pairs=150, shots=50, test=100, dimension=512, decay=1.4, rotated=False, common=0.1)

SHAPES = {
    "TLDR": Shape(seen=40, unseen=40, pairs=150, shots=50, test=100, dimension=512),
    "TLDR, flat": Shape(seen=40, unseen=40, pairs=150, shots=50, test=100, dimension=1024, decay=0.75),
    "TLDR, white": Shape(seen=40, unseen=40, pairs=150, shots=50, test=100, dimension=1024, decay=0.0),
    "PersonalLLM": Shape(seen=1000, unseen=200, pairs=47, shots=47, test=30, dimension=256),
    "PRISM": Shape(seen=1000, unseen=200, pairs=13, shots=13, test=30, dimension=256),
    # One population in several coordinates, so that a recipe cannot be fitted to one of them.
    "isotropic, raw": _FAMILY,
    "isotropic, half-standardised": replace(_FAMILY, tastes="half-standardised"),
    "isotropic, white": replace(_FAMILY, tastes="white"),
    "leading components": replace(_FAMILY, tastes="leading", rotated=True),
    "trailing components": replace(_FAMILY, tastes="trailing", rotated=True),
    # As a study in which 40 users judge 30 of the same 80 prompts.
    "shared prompts": replace(
        _FAMILY, seen=40, unseen=40, pairs=30, shots=30, test=30, rotated=True, prompts=80, effect=0.5
    ),
}
FAMILY = tuple(SHAPES)[-6:]


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
    "moderate mixtures": Signal(concentration=0.3),
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
    coordinates
        [D, P], with orthogonal columns: the reward directions are `coordinates @ z`, where z [P, RANK] is drawn from
        the standard normal distribution with a correlation between its columns.
    common
        That correlation.
    weights
        The mixture of each user.
    signal
        How users differ.
    """

    splits: Splits
    basis: torch.Tensor | None = None
    coordinates: torch.Tensor | None = None
    common: float = 0.0
    weights: dict[str, torch.Tensor] | None = None
    signal: Signal | None = None

    @property
    def precision(self) -> torch.Tensor:
        """Inverse of the prior covariance [RANK, RANK] of a row of z."""
        return torch.linalg.inv((1 - self.common) * torch.eye(RANK, dtype=torch.float64) + self.common)


def plant(shape: Shape, signal: Signal, seed: int) -> Population:
    """Draw users whose rewards are mixtures of RANK directions, and their comparisons between random responses."""
    rng = np.random.default_rng(seed)
    dimension, people = shape.dimension, shape.seen + shape.unseen
    deviation = np.arange(1, dimension + 1) ** (-shape.decay / 2)
    axes = np.linalg.qr(rng.standard_normal((dimension, dimension)))[0]
    axes = axes if shape.rotated else np.eye(dimension)
    own = rng.standard_normal((dimension, RANK))
    coefficients = TASTES[shape.tastes](deviation)
    tastes = np.sqrt(1 - shape.common) * own + np.sqrt(shape.common) * rng.standard_normal((dimension, 1))
    tastes *= coefficients[:, None]
    mixtures = signal.mixtures(people, rng)

    each = np.where(np.arange(people) < shape.seen, shape.pairs, shape.shots) + shape.test
    who = np.repeat(np.arange(people), each)
    train = np.concatenate([np.arange(count) for count in each]) < each[who] - shape.test
    prompt = np.arange(len(who)) if shape.prompts is None else _shared_prompts(train, who, shape.prompts, rng)
    n = prompt.max() + 1
    features = (rng.standard_normal((2 * n, dimension)) * deviation).astype(np.float32)
    difference = features[:n] - features[n:]
    margin = ((difference @ tastes.astype(np.float32))[prompt] * mixtures[who]).sum(axis=1)
    scale = _scale_of(margin)
    factor = np.where(rng.random(people) < signal.unreliable, 0.2, 1.0)
    log_odds = scale * margin * factor[who]
    if shape.effect:
        log_odds += (shape.effect * scale * margin.std() * rng.standard_normal(n))[prompt]
    first_is_better = rng.random(len(who)) < 1 / (1 + np.exp(-log_odds))
    first, second = prompt, n + prompt
    data = EmbeddedPreferences.from_arrays(
        features @ axes.T.astype(np.float32),
        np.where(first_is_better, first, second),
        np.where(first_is_better, second, first),
        [f"u{u}" for u in who],
        [f"p{i}" for i in prompt],
        reference=None if signal.reference is None else _head(axes, deviation, tastes, signal.reference, rng),
    )
    seen = who < shape.seen
    labels = np.where(seen, np.where(train, "train_seen", "test_seen"), np.where(train, "train_unseen", "test_unseen"))
    return Population(
        Splits.from_labels(data, labels),
        basis=torch.from_numpy(scale * axes @ tastes).float(),
        coordinates=torch.from_numpy(scale * (axes * coefficients)[:, coefficients > 0]).float(),
        common=shape.common,
        weights={f"u{u}": torch.from_numpy(mixtures[u]).float() for u in range(people)},
        signal=signal,
    )


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


def _shared_prompts(train: np.ndarray, who: np.ndarray, prompts: int, rng: np.random.Generator) -> np.ndarray:
    """Draw each user's prompts without repetition: the first `prompts` are for training, as many others for testing."""
    drawn = np.empty(len(who), dtype=int)
    for user in range(who.max() + 1):
        for is_train, first in ((True, 0), (False, prompts)):
            rows = np.flatnonzero((who == user) & (train == is_train))
            drawn[rows] = first + rng.permutation(prompts)[: len(rows)]
    return drawn


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
