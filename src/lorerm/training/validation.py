"""The validation split: users and prompts that are held out of the training data to choose settings.

It is made like the split for the evaluation: a share of the users is unseen (not trained on), and a share of the
prompts is for testing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from lorerm.data.splits import assign_splits
from lorerm.errors import DataError
from lorerm.training.pairs import PackedPairs

if TYPE_CHECKING:
    from lorerm.arrays import Floats
    from lorerm.embedding.embedded_preferences import EmbeddedPreferences

# Shares of unseen users and of test prompts. The evaluation holds out 30% of each by default. The shares are smaller
# here, so that the chosen settings suit the full training data.
UNSEEN_USERS, TEST_PROMPTS = 0.25, 0.2


@dataclass(frozen=True, eq=False)
class Score:
    """Loss and accuracy of each user on the held-out comparisons."""

    user_ids: tuple[str, ...]
    """the M users with held-out comparisons"""
    losses: Floats
    """float64 [M]: each user's mean negative log-likelihood, in nats"""
    accuracies: Floats
    """float64 [M]: each user's share of comparisons with a positive reward difference"""

    @property
    def loss(self) -> float:
        """The mean loss over users."""
        return float(self.losses.mean())

    @property
    def accuracy(self) -> float:
        """The mean accuracy over users."""
        return float(self.accuracies.mean())


def improves_by_one_se(losses: Floats | torch.Tensor, baseline: Floats | torch.Tensor) -> bool:
    """Return whether the mean of `losses` [M] is below that of `baseline` [M] by more than one standard error.

    Both contain losses of the same users; users with NaN are left out. The standard error is that of the mean
    difference over users. The rule prevents a setting with a small or accidental advantage from replacing a simpler
    one.
    """
    gain = (np.asarray(baseline) - np.asarray(losses)).astype(np.float64)
    gain = gain[np.isfinite(gain)]
    return len(gain) > 1 and bool(gain.mean() > gain.std(ddof=1) / len(gain) ** 0.5)


@dataclass(frozen=True, eq=False)
class Validation:
    """The training data split into comparisons to train on, to adapt to, and to score."""

    train: PackedPairs
    """the seen users' comparisons on train prompts"""
    few_shot: PackedPairs | None
    """the unseen users' comparisons on train prompts, to which their weights are fitted; None without unseen users"""
    held_out: PackedPairs
    """all users' comparisons on test prompts"""
    row: torch.Tensor
    """int64: for each user of `held_out`, the row in a matrix that has the weights of the users of `train`, then of
    `few_shot`"""
    train_share: float
    """the number of comparisons in `train`, divided by the number in the training data"""

    @classmethod
    def split(cls, data: EmbeddedPreferences, seed: int, *, differences: bool | None = None) -> Validation | None:
        """Split the training data; return None if it is too small to hold anything out.

        `differences` is as in `PackedPairs.pack`.
        """
        try:
            splits = assign_splits(
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
            indices = np.flatnonzero(np.isin(splits, names))
            return PackedPairs.pack(data.select(indices), differences=differences) if indices.size else None

        train, few_shot, held_out = pack("train_seen"), pack("train_unseen"), pack("test_seen", "test_unseen")
        if train is None or held_out is None:
            return None
        rows = {user: i for i, user in enumerate(train.user_ids + (few_shot.user_ids if few_shot else ()))}
        row = torch.tensor([rows[user] for user in held_out.user_ids])
        return cls(train, few_shot, held_out, row, len(train) / len(data))

    @property
    def fitted(self) -> list[PackedPairs]:
        """The comparisons that weights are fitted to: `train`, and `few_shot` if there are unseen users."""
        return [self.train] if self.few_shot is None else [self.train, self.few_shot]

    def with_scale(self, scale: torch.Tensor) -> Validation:
        """Return the same split with features multiplied by `scale` [D]."""
        few_shot = None if self.few_shot is None else self.few_shot.with_scale(scale)
        train, held_out = self.train.with_scale(scale), self.held_out.with_scale(scale)
        return replace(self, train=train, few_shot=few_shot, held_out=held_out)

    def margins(self, basis: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Return the reward difference of each held-out comparison [n].

        `basis` is [K, D]. `weights` has one row for each user of `train`, then of `few_shot`.
        """
        return (self.held_out.project(basis) * weights[self.row][self.held_out.user]).sum(dim=1)

    def score(self, margins: torch.Tensor, temperature: float) -> Score:
        """Score the held-out comparisons by their reward differences [n]; a tie counts as wrong."""
        share = self.held_out.weight.double()
        losses = self.held_out.sum_by_user(-torch.nn.functional.logsigmoid(margins.double() / temperature) * share)
        accuracies = self.held_out.sum_by_user((margins > 0).double() * share)
        return Score(self.held_out.user_ids, losses.numpy(), accuracies.numpy())


def best_temperature(margins: torch.Tensor, pair_weight: torch.Tensor) -> float:
    """Return the temperature s that minimises sum_i pair_weight_i * -log sigmoid(margin_i / s).

    The root mean square of margin / s is kept between 0.001 and 100, because the minimum would be at s = 0 or infinity
    if all margins had the same sign.
    """
    from scipy.optimize import minimize_scalar

    margins, pair_weight = margins.double(), pair_weight.double()
    size = float(margins.square().mean().sqrt())
    if size == 0:
        return 1.0

    def loss(log_scale: float) -> float:
        return -float(torch.dot(torch.nn.functional.logsigmoid(margins / size * np.exp(log_scale)), pair_weight))

    found = minimize_scalar(loss, bounds=(np.log(1e-3), np.log(1e2)), method="bounded", options={"xatol": 1e-6})
    return float(size / np.exp(found.x))
