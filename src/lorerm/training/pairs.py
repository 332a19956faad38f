"""Comparisons packed for training: grouped by user, with the matrix products that the training methods need.

The embeddings are stored in the cheaper of two forms:

- one row per comparison: the difference d, the embedding of the chosen response minus that of the rejected one;
- one row per distinct response, together with the rows of each comparison's chosen and rejected response.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from lorerm.embedding.checks import equal_rows
from lorerm.embedding.matrices import LARGE, StoredMatrix, as_tensor
from lorerm.model.posterior import Posterior, solve
from lorerm.training import operators
from lorerm.training.operators import StreamedRows

if TYPE_CHECKING:
    from lorerm.arrays import Ints
    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.embedding.matrices import Matrix
    from lorerm.model.prior import WeightPrior

# Below this many comparisons per distinct response, storing differences is cheaper than storing responses.
_REUSE = 2.0
# Largest number of elements of a matrix that is kept in memory.
_IN_MEMORY = LARGE
# Elements converted or compared at a time: 16 MiB as float32.
_BLOCK_ELEMENTS = 1 << 22


@dataclass(frozen=True, eq=False)
class PackedPairs:
    """Comparisons of many users, grouped by user in order of first appearance."""

    matrix: torch.Tensor | StreamedRows
    """float32. If `rows` is None, [n, D]: the differences; otherwise [R, D]: the centred embeddings of the responses in
    use. It may be on a GPU; all other tensors are on the CPU. A matrix of more than 1 GiB is not stored here but
    streamed from its source (disk, or memory in another precision)."""
    rows: tuple[torch.Tensor, torch.Tensor] | None
    """both int64 [n]: the rows of `matrix` with the chosen and with the rejected responses; None if `matrix` contains
    the differences"""
    user: torch.Tensor
    """int64 [n], non-decreasing: the index in `user_ids` of each comparison's user"""
    weight: torch.Tensor
    """float32 [n]: the weight of each comparison in its user's mean loss; the weights of each user sum to 1"""
    count: torch.Tensor
    """float64 [n]: the weight of each comparison in the likelihood, as given in the data"""
    user_ids: tuple[str, ...]
    """the N users"""
    order: Ints
    """int64 [n]: the index of each comparison in the original data"""
    scale: torch.Tensor | None = None
    """float32 [D]: a factor for each feature; None is 1. Products multiply the directions by it, not the matrix, so
    that scaled and unscaled comparisons share one matrix."""

    @classmethod
    def pack(cls, data: EmbeddedPreferences, *, differences: bool | None = None) -> PackedPairs:
        """Pack comparisons, as differences or as responses.

        `differences` determines the form; None takes the cheaper one. A matrix that is too large for memory always
        contains responses.
        """
        chosen, rejected = data.rows()
        user_ids, user = data.index_users()
        order = np.argsort(user, kind="stable")
        chosen, rejected, user = chosen[order], rejected[order], user[order]
        count = data.weights[order]
        share = count / np.bincount(user, weights=count)[user]
        used, (chosen_row, rejected_row) = _in_use(chosen, rejected, len(data.responses))
        if differences is None:
            differences = len(chosen) < _REUSE * len(used)
        matrix: torch.Tensor | StreamedRows
        if (len(chosen) if differences else len(used)) * data.dimension > _IN_MEMORY:
            matrix, differences = StreamedRows.of(data.responses, used), False
        elif differences:
            matrix = _differences(data.responses, chosen, rejected)
        else:
            matrix = StreamedRows.of(data.responses, used)[:]
        rows = torch.from_numpy(chosen_row), torch.from_numpy(rejected_row)
        return cls(
            matrix=matrix,
            rows=None if differences else _with_exact_ties(matrix, *rows),
            user=torch.from_numpy(user),
            weight=torch.from_numpy(share).float(),
            count=torch.from_numpy(count),
            user_ids=user_ids,
            order=order,
        )

    def __len__(self) -> int:
        """Return the number of comparisons."""
        return len(self.user)

    @property
    def n_users(self) -> int:
        """The number of users N."""
        return len(self.user_ids)

    @property
    def same(self) -> torch.Tensor:
        """Bool [n]: whether both responses of each comparison have the same embedding, so that every model ties."""
        if self.rows is not None:
            return self.rows[0] == self.rows[1]
        step = max(1, _BLOCK_ELEMENTS // self.matrix.shape[1])
        return torch.cat([~self.matrix[first : first + step].any(dim=1).cpu() for first in range(0, len(self), step)])

    def with_scale(self, scale: torch.Tensor) -> PackedPairs:
        """Return the comparisons with features multiplied by `scale` [D]; the matrix is shared, not copied."""
        return replace(self, scale=scale if self.scale is None else self.scale * scale)

    def project(self, directions: torch.Tensor) -> torch.Tensor:
        """Return d . v for every comparison and direction: [n, K] from `directions` [K, D]."""
        projected = operators.project(self.matrix, self._scaled(directions))
        if self.rows is None:
            return projected
        chosen, rejected = self.rows
        by_direction = projected.t()
        return (by_direction.index_select(1, chosen) - by_direction.index_select(1, rejected)).t()

    def pull_back(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Return sum_i coefficients[i, k] * d_i: [K, D] from `coefficients` [n, K]; the transpose of `project`."""
        if self.rows is not None:
            coefficients = self._incidence @ coefficients
        return self._scaled(operators.pull_back(self.matrix, coefficients))

    def in_one_pass(self, directions: torch.Tensor) -> bool:
        """Return whether `project_and_pull_back` can be used: only on differences stored as float32 on the CPU."""
        return (
            self.rows is None and isinstance(self.matrix, torch.Tensor) and operators.in_blocks(self.matrix, directions)
        )

    def project_and_pull_back(
        self, directions: torch.Tensor, coefficients: operators.Coefficients
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Do `project` and `pull_back` in one pass over the matrix, with coefficients computed from the projections.

        `coefficients` is the function that computes them; see `operators.project_and_pull_back`.
        """
        if not isinstance(self.matrix, torch.Tensor):
            raise TypeError("this function needs a matrix in memory, not StreamedRows")
        directions = self._scaled(directions)
        projected, pulled = operators.project_and_pull_back(self.matrix, directions, coefficients)
        return projected, self._scaled(pulled)

    def pull_back_by_user(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Return sum_i coefficients[i] * d_i over each user's comparisons: [N, D] from `coefficients` [n]."""
        if self.rows is None:
            rows, columns, values = self.user, torch.arange(len(self)), coefficients
        else:
            rows, columns = self.user.repeat(2), torch.cat(self.rows)
            values = torch.cat([coefficients, -coefficients])
        return self._scaled(operators.sparse_product(rows, columns, values, self.n_users, self.matrix))

    def of_pairs(self, weights: torch.Tensor) -> torch.Tensor:
        """Return the weights of each comparison's user: [n, K] from `weights` [N, K]."""
        # Each direction is contiguous in memory, as in the projections: otherwise sums over few directions are slow.
        return weights.t().contiguous().index_select(1, self.user).t()

    def sum_by_user(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sums over each user's comparisons: [N, ...] from `values` [n, ...]."""
        return sum_groups(values, self._first)

    def posterior(self, projected: torch.Tensor, prior: WeightPrior) -> Posterior:
        """Return the posterior of the users' weights, given the prior and the comparisons' projections [n, K]."""
        return solve(projected, self.user, self.count, self.n_users, prior)

    def mean_square(self) -> torch.Tensor:
        """Return for each feature the mean over comparisons of the squared difference: float32 [D]."""
        dimension = self.matrix.shape[1]
        total = torch.zeros(dimension, dtype=torch.float64)
        # In the order of the chosen responses, because they may have to be read from a file.
        order = torch.arange(len(self)) if self.rows is None else self.rows[0].argsort(stable=True)
        for block in torch.split(order, max(1, _BLOCK_ELEMENTS // dimension)):
            if self.rows is None:
                rows = self.matrix[block]
            else:
                chosen, rejected = self.rows
                rows = self.matrix[chosen[block]] - self.matrix[rejected[block]]
            total += rows.square().sum(dim=0).double().cpu()
        # Scaled twice, because the features are squared.
        return self._scaled(self._scaled((total / len(self)).float()))

    @cached_property
    def _first(self) -> Ints:
        """Int64 [N]: the index of each user's first comparison."""
        return np.searchsorted(self.user.numpy(), np.arange(self.n_users))

    @cached_property
    def _incidence(self) -> torch.Tensor:
        """The sparse [R, n] matrix with +1 where a response is chosen in a comparison, -1 where it is rejected."""
        n = len(self)
        ones = torch.ones(n, dtype=self.matrix.dtype)
        rows, columns = torch.cat(self.rows or ()), torch.arange(n).repeat(2)
        return operators.sparse(rows, columns, torch.cat([ones, -ones]), (len(self.matrix), n))

    def _scaled(self, features: torch.Tensor) -> torch.Tensor:
        """Return features [..., D] multiplied by the scale."""
        return features if self.scale is None else features * self.scale


def sum_groups(values: torch.Tensor, first: Ints) -> torch.Tensor:
    """Return the sums of consecutive rows: [N, ...] from `values` [n, ...] and each group's first row, int64 [N]."""
    return torch.from_numpy(np.add.reduceat(values.numpy(), first, axis=0))


def _in_use(chosen: Ints, rejected: Ints, n_responses: int) -> tuple[Ints, tuple[Ints, Ints]]:
    """Return the indices of the responses in use, increasing, and `chosen` and `rejected` as positions among them."""
    marked = np.zeros(n_responses, dtype=bool)
    marked[chosen] = marked[rejected] = True
    used = np.flatnonzero(marked)
    if len(used) == n_responses:
        return used, (chosen, rejected)
    index = np.zeros(n_responses, dtype=np.int64)
    index[used] = np.arange(len(used))
    return used, (index[chosen], index[rejected])


def _differences(responses: Matrix, chosen: Ints, rejected: Ints) -> torch.Tensor:
    """Return the differences [n, D] in float32: subtracting two similar bfloat16 vectors would lose most digits."""
    source = responses if isinstance(responses, StoredMatrix) else as_tensor(responses)
    matrix = torch.empty(
        len(chosen), source.shape[1], device=None if isinstance(source, StoredMatrix) else source.device
    )
    step = max(1, _BLOCK_ELEMENTS // source.shape[1])
    for first in range(0, len(chosen), step):
        block = slice(first, first + step)
        better, worse = (source[torch.from_numpy(rows[block])].float() for rows in (chosen, rejected))
        torch.sub(better, worse, out=matrix[block])
    return matrix


def _with_exact_ties(
    matrix: torch.Tensor | StreamedRows, chosen: torch.Tensor, rejected: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `chosen` and `rejected`, with the same row for both responses of a comparison if the embeddings are equal.

    Their reward difference is then exactly 0. With two rows it might not be, because of rounding.
    """
    tied = torch.nonzero(equal_rows(matrix, chosen, rejected))[:, 0]
    return chosen, rejected.index_copy(0, tied, chosen[tied])
