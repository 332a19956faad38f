"""Comparisons drawn from known personal rewards, which training must recover."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from lorerm.embedding.embedded_preferences import EmbeddedPreferences
from lorerm.evaluation.predictions import is_correct, project, sample_of, weights_of
from lorerm.model.reward_model import LowRankRewardModel
from lorerm.training.pairs import PackedPairs


class Planted(NamedTuple):
    """The preferences, and the truth behind them."""

    data: EmbeddedPreferences
    shared: np.ndarray
    """[D]: the direction that everybody has in common."""
    directions: np.ndarray
    """[K-1, D]: orthonormal directions along which users differ."""
    deviations: np.ndarray
    """[N, K-1]."""


def plant(
    *,
    users: int = 24,
    pairs: int = 40,
    dimension: int = 24,
    directions: int = 2,
    shared: float = 1.0,
    personal: float = 1.0,
    noise: float = 0.25,
    prompts: int | None = None,
    reference: bool = False,
    seed: int = 0,
) -> Planted:
    """Draw `pairs` logistic choices for each user.

    Every prompt has two responses of its own, and each user answers `pairs` of the `prompts` (by default 1.5 times as
    many). `shared` and `personal` are the lengths of the common direction and of a typical deviation, `noise` is the
    temperature of the choices, and with `reference` the common direction is handed over as the encoder's own head.
    """
    rng = np.random.default_rng(seed)
    prompts = prompts or int(1.5 * pairs)
    responses = rng.standard_normal((2 * prompts, dimension)).astype(np.float32)
    axes = np.linalg.qr(rng.standard_normal((dimension, directions + 1)))[0].T
    deviations = rng.standard_normal((users, directions)) * personal / max(1, directions) ** 0.5
    rewards = responses @ (shared * axes[:1] + deviations @ axes[1:]).T
    who = np.repeat(np.arange(users), pairs)
    prompt = np.concatenate([rng.permutation(prompts)[:pairs] for _ in range(users)])
    first, second = 2 * prompt, 2 * prompt + 1
    margin = (rewards[first, who] - rewards[second, who]) / noise
    chose_first = rng.random(len(who)) < 1 / (1 + np.exp(-margin))
    order = rng.permutation(len(who))
    data = EmbeddedPreferences.from_arrays(
        responses,
        np.where(chose_first, first, second)[order],
        np.where(chose_first, second, first)[order],
        [f"user {u}" for u in who[order]],
        [f"prompt {p}" for p in prompt[order]],
        reference=shared * axes[0] if reference else None,
    )
    return Planted(data, shared * axes[0], axes[1:], deviations)


def plant_two_camps(users: int = 8, prompts: int = 20, dimension: int = 6, seed: int = 0) -> EmbeddedPreferences:
    """Return the comparisons of two camps of equal size, which prefer opposite responses on every prompt.

    One ranking for everybody is exactly indifferent; one personal direction predicts every comparison. The comparisons
    have splits: the last user of each camp is unseen, and every fourth prompt is a test prompt.
    """
    rng = np.random.default_rng(seed)
    step = rng.standard_normal(dimension)
    responses = rng.standard_normal((2 * prompts, dimension)).astype(np.float32)
    # The first response to each prompt is further along `step` than the second.
    responses[::2] = responses[1::2] + (step + 0.1 * rng.standard_normal((prompts, dimension))).astype(np.float32)
    who, prompt = np.divmod(np.arange(users * prompts), prompts)
    first = who % 2
    sides = np.where(prompt % 4 == 0, "test", "train")
    groups = np.where(who >= users - 2, "unseen", "seen")
    return EmbeddedPreferences.from_arrays(
        responses,
        2 * prompt + first,
        2 * prompt + 1 - first,
        [f"user {u}" for u in who],
        [f"prompt {p}" for p in prompt],
        splits=[f"{side}_{group}" for side, group in zip(sides, groups, strict=True)],
    )


def mean_accuracy(model: LowRankRewardModel, data: EmbeddedPreferences, weights: torch.Tensor | None = None) -> float:
    """Return the mean over users of the share of their comparisons with a positive reward difference.

    Users are scored with the model's weights of theirs or, where `weights` [K] are given, all with these.
    """
    pairs = PackedPairs.pack(data)
    weights = weights_of(model, pairs.user_ids) if weights is None else weights
    correct = is_correct(pairs, project(pairs, model.basis), weights)
    return float(sample_of(pairs, data).by_user(correct[:, None]).mean())


def numbered_user(data: EmbeddedPreferences) -> np.ndarray:
    """Return each comparison's planted user, int [n]."""
    return np.array([int(str(user).split()[1]) for user in data.user_ids])
