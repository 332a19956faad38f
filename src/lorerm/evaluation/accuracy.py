"""Accuracy of each user in one cell, under any weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lorerm.learning.pairs import PackedPairs

if TYPE_CHECKING:
    from lorerm.encoding.embedded_preferences import EmbeddedPreferences
    from lorerm.model.reward_model import LowRankRewardModel


@dataclass(frozen=True, eq=False)
class Cell:
    """The pairs of one cell, packed once for all models."""

    pairs: PackedPairs

    @classmethod
    def pack(cls, data: EmbeddedPreferences) -> Cell | None:
        """Pack a cell; None where it is empty."""
        return cls(PackedPairs.pack(data)) if len(data) else None

    @property
    def n_pairs(self) -> int:
        """The number of pairs."""
        return len(self.pairs)

    @property
    def user_ids(self) -> tuple[str, ...]:
        """The cell's users: the order of every figure below."""
        return self.pairs.user_ids

    def weights_of(self, model: LowRankRewardModel) -> torch.Tensor:
        """Return [M, K]: the model's weights of the cell's users; the population's for whom it does not know."""
        place = {user: i for i, user in enumerate(model.user_ids)}
        known = torch.tensor([place.get(user, -1) for user in self.user_ids])
        weights = model.population_weights.expand(len(known), -1).clone()
        weights[known >= 0] = model.weights[known[known >= 0]]
        return weights

    def accuracy(self, basis: torch.Tensor, weights: torch.Tensor) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return float64 [M]: each user's share of pairs with a positive reward difference (a tie counts as wrong).

        Parameters
        ----------
        basis
            [D, K].
        weights
            [M, K], rows as `user_ids`.
        """
        margin = (self.pairs.project(basis.t().contiguous()) * weights[self.pairs.user]).sum(dim=1)
        right = self.pairs.sum_by_user((margin > 0) * self.pairs.count)
        return (right / self.pairs.sum_by_user(self.pairs.count)).numpy()

    def accuracy_with_others(
        self, basis: torch.Tensor, weights: torch.Tensor, seed: int, rounds: int = 5
    ) -> np.ndarray[Any, np.dtype[np.float64]] | None:
        """Return [M]: accuracy under *another* user's weights, the mean over rounds of swaps; None with one user."""
        n_users = len(weights)
        if n_users < 2:
            return None
        rng = np.random.Generator(np.random.PCG64(seed))
        total = np.zeros(n_users)
        for _ in range(rounds):
            # Each user takes the weights of the next in a random ring: nobody keeps their own.
            ring = rng.permutation(n_users)
            donor = np.empty(n_users, dtype=np.int64)
            donor[ring] = np.roll(ring, 1)
            total += self.accuracy(basis, weights[torch.from_numpy(donor)])
        return total / rounds
