"""Which pairs of one cell are predicted rightly, under any weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lorerm.evaluation.intervals import Sample
from lorerm.training.pairs import PackedPairs

if TYPE_CHECKING:
    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.model.reward_model import LowRankRewardModel

    Floats = np.ndarray[Any, np.dtype[np.float64]]

# Swaps of weights that "another user's weights" is the mean of.
_SWAPS = 5


@dataclass(frozen=True, eq=False)
class Cell:
    """The pairs of one cell, packed once for all models.

    Parameters
    ----------
    pairs
        Grouped by user.
    prompt
        Int64 [n]: the number of each pair's prompt, in the order of `pairs`.
    prompt_ids
        The prompts by number.
    rows
        Int64 [n] each: the rows of the chosen and of the rejected response in the data's matrix.
    """

    pairs: PackedPairs
    prompt: np.ndarray[Any, np.dtype[np.int64]]
    prompt_ids: tuple[str, ...]
    rows: tuple[np.ndarray[Any, np.dtype[np.int64]], np.ndarray[Any, np.dtype[np.int64]]]

    @classmethod
    def pack(cls, data: EmbeddedPreferences) -> Cell | None:
        """Pack a cell; None where it is empty."""
        import pyarrow as pa  # its hash table is faster than sorting

        if not len(data):
            return None
        pairs = PackedPairs.pack(data)
        prompts = pa.array([str(prompt) for prompt in data.prompt_ids], pa.string()).dictionary_encode()
        number = prompts.indices.to_numpy().astype(np.int64)
        chosen, rejected = data.rows()
        rows = chosen[pairs.order], rejected[pairs.order]
        return cls(pairs, number[pairs.order], tuple(prompts.dictionary.to_pylist()), rows)

    @property
    def n_pairs(self) -> int:
        """The number of pairs n."""
        return len(self.pairs)

    @property
    def user_ids(self) -> tuple[str, ...]:
        """The cell's users: the order of every figure per user."""
        return self.pairs.user_ids

    @cached_property
    def sample(self) -> Sample:
        """Whose and on which prompt each pair is."""
        count = self.pairs.count.numpy()
        user = self.pairs.user.numpy()
        return Sample(user, self.prompt, count / np.bincount(user, weights=count)[user])

    def weights_of(self, model: LowRankRewardModel) -> torch.Tensor:
        """Return [M, K]: the model's weights of the cell's users; the population's for whom it does not know."""
        place = {user: i for i, user in enumerate(model.user_ids)}
        known = torch.tensor([place.get(user, -1) for user in self.user_ids])
        weights = model.population_weights.expand(len(known), -1).clone()
        weights[known >= 0] = model.weights[known[known >= 0]]
        return weights

    def project(self, basis: torch.Tensor) -> torch.Tensor:
        """Return [n, K]: each pair's difference along each of the directions `basis` [D, K]."""
        return self.pairs.project(basis.t().contiguous())

    def right(self, projected: torch.Tensor, weights: torch.Tensor) -> Floats:
        """Return float64 [n]: 1 for each pair with a positive reward difference, else 0 (a tie counts as wrong).

        Parameters
        ----------
        projected
            [n, K], as `project` gives it.
        weights
            [M, K], rows as `user_ids`; or [K], the same for everybody.
        """
        margin = projected @ weights if weights.ndim == 1 else (projected * weights[self.pairs.user]).sum(dim=1)
        return (margin > 0).double().numpy()

    def right_with_others(self, projected: torch.Tensor, weights: torch.Tensor, seed: int) -> Floats | None:
        """Return [n]: as `right` under *another* user's weights, the mean over swaps; None with one user."""
        n_users = len(weights)
        if n_users < 2:
            return None
        rng = np.random.Generator(np.random.PCG64(seed))
        total = np.zeros(self.n_pairs)
        for _ in range(_SWAPS):
            # Each user takes the weights of the next in a random ring: nobody keeps their own.
            ring = rng.permutation(n_users)
            donor = np.empty(n_users, dtype=np.int64)
            donor[ring] = np.roll(ring, 1)
            total += self.right(projected, weights[torch.from_numpy(donor)])
        return total / _SWAPS
