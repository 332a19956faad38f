"""Validation pairs, cut from the training pairs in the image of the evaluation: some people, some prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lorerm.data.splits import assign_splits
from lorerm.errors import DataError
from lorerm.training.pairs import PackedPairs

if TYPE_CHECKING:
    from lorerm.embedding.embedded_preferences import EmbeddedPreferences

UNSEEN_USERS, TEST_PROMPTS = 0.25, 0.2


@dataclass(frozen=True, eq=False)
class Score:
    """How well a candidate predicts the held pairs.

    Parameters
    ----------
    user_ids
        The users with held pairs, the order of the next two.
    losses
        Float64 [M]: each user's mean negative log-likelihood, in nats.
    accuracies
        Float64 [M]: each user's share of held pairs on the right side.
    """

    user_ids: tuple[str, ...]
    losses: np.ndarray[Any, np.dtype[np.float64]]
    accuracies: np.ndarray[Any, np.dtype[np.float64]]

    @property
    def loss(self) -> float:
        """The mean over users."""
        return float(self.losses.mean())

    @property
    def accuracy(self) -> float:
        """The mean over users."""
        return float(self.accuracies.mean())


@dataclass(frozen=True, eq=False)
class Validation:
    """The inner cells.

    Parameters
    ----------
    fit
        Pairs to train on: the inner seen users' training prompts.
    shots
        Pairs to adapt on: the inner unseen users' training prompts; None without such users.
    held
        Pairs to score: both kinds of users, held-out prompts.
    place
        Int64: for each user of `held`, the row in the weights of `fit`'s users followed by those of `shots`.
    share
        How many of the training pairs `fit` has, as a fraction.
    """

    fit: PackedPairs
    shots: PackedPairs | None
    held: PackedPairs
    place: torch.Tensor
    share: float

    @classmethod
    def cut(cls, data: EmbeddedPreferences, seed: int, *, differences: bool | None = None) -> Validation | None:
        """Cut the training data; None where it is too small to hold anything out."""
        try:
            cells = assign_splits(
                data.user_ids,
                data.prompt_ids,
                unseen_users=UNSEEN_USERS,
                test_prompts=TEST_PROMPTS,
                seed=seed,
                max_pairs_seen=None,
                max_pairs_unseen=None,
            )
        except DataError:
            return None

        def pack(*names: str) -> PackedPairs | None:
            indices = np.flatnonzero(np.isin(cells, names))
            return PackedPairs.pack(data.select(indices), differences=differences) if indices.size else None

        fit, shots, held = pack("train_seen"), pack("train_unseen"), pack("test_seen", "test_unseen")
        if fit is None or held is None:
            return None
        rows = {user: i for i, user in enumerate(fit.user_ids + (shots.user_ids if shots else ()))}
        place = torch.tensor([rows[user] for user in held.user_ids])
        return cls(fit, shots, held, place, len(fit) / len(data))

    def margins(self, basis: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Return each held pair's reward difference [n]; `basis` is [K, D], `weights` [fit users + shots users, K]."""
        return (self.held.project(basis) * weights[self.place][self.held.user]).sum(dim=1)

    def score(self, margins: torch.Tensor, temperature: float) -> Score:
        """Score reward differences [n] at a temperature; a tie counts as wrong."""
        share = self.held.weight.double()
        losses = self.held.sum_by_user(-torch.nn.functional.logsigmoid(margins.double() / temperature) * share)
        accuracies = self.held.sum_by_user((margins > 0).double() * share)
        return Score(self.held.user_ids, losses.numpy(), accuracies.numpy())


def best_temperature(margins: torch.Tensor, pair_weight: torch.Tensor) -> float:
    """Return the s that minimises sum_i pair_weight_i * -log sigmoid(margin_i / s), with log-odds of at most 100."""
    from scipy.optimize import minimize_scalar

    margins, pair_weight = margins.double(), pair_weight.double()
    size = float(margins.square().mean().sqrt())
    if size == 0:
        return 1.0

    def loss(log_scale: float) -> float:
        return -float(torch.dot(torch.nn.functional.logsigmoid(margins / size * np.exp(log_scale)), pair_weight))

    found = minimize_scalar(loss, bounds=(np.log(1e-3), np.log(1e2)), method="bounded", options={"xatol": 1e-6})
    return float(size / np.exp(found.x))
