"""Comparisons packed for the solvers: sorted by user, with the two products that a solver asks of the embeddings."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lorerm.encoding.embedded_preferences import as_tensor

if TYPE_CHECKING:
    from lorerm.encoding.embedded_preferences import EmbeddedPreferences

# Below this many comparisons per distinct response, storing differences is cheaper than working on responses.
_REUSE = 2.0


@dataclass(frozen=True, eq=False)
class PackedPairs:
    """Pairs of many users, grouped by user in order of first appearance.

    Parameters
    ----------
    matrix
        Float32 [R, D] or [n, D]: embeddings of the responses in use, less their mean, when `chosen` is given; else the
        differences.
    chosen, rejected
        Int64 [n], rows of `matrix`; or None when `matrix` holds the differences themselves.
    user
        Int64 [n], non-decreasing: the place in `user_ids` of each pair's user.
    weight
        Float32 [n]: weight of each pair; they sum to 1 within each user.
    count
        Float64 [n]: each pair's weight as a number of judgements (for likelihoods, which are sums and not means).
    user_ids
        The N users.
    order
        Int64 [n]: which comparison of the data each pair is.
    """

    matrix: torch.Tensor
    chosen: torch.Tensor | None
    rejected: torch.Tensor | None
    user: torch.Tensor
    weight: torch.Tensor
    count: torch.Tensor
    user_ids: tuple[str, ...]
    order: np.ndarray[Any, np.dtype[np.int64]]

    @classmethod
    def pack(cls, data: EmbeddedPreferences, *, differences: bool | None = None) -> PackedPairs:
        """Pack comparisons; `differences` True or False forces the storage, None takes the cheaper one."""
        chosen, rejected = data.rows()
        user_ids, user = data.index_users()
        order = np.argsort(user, kind="stable")
        chosen, rejected, user = chosen[order], rejected[order], user[order]
        count = data.weights[order]
        share = count / np.bincount(user, weights=count)[user]
        used, rows = np.unique(np.concatenate([chosen, rejected]), return_inverse=True)
        responses = as_tensor(data.responses)
        if differences is None:
            differences = len(chosen) < _REUSE * len(used)
        if differences:
            # Taken in float32: in bfloat16 the subtraction of two near vectors loses most of its digits.
            matrix = responses[chosen].float() - responses[rejected].float()
            ends: tuple[torch.Tensor | None, torch.Tensor | None] = None, None
        else:
            matrix = responses[used].float()
            # Only differences matter; without the common part the products keep more digits.
            matrix = matrix - matrix.mean(dim=0)
            ends = _with_exact_ties(
                matrix, torch.from_numpy(rows[: len(chosen)]), torch.from_numpy(rows[len(chosen) :])
            )
        return cls(
            matrix=matrix,
            chosen=ends[0],
            rejected=ends[1],
            user=torch.from_numpy(user),
            weight=torch.from_numpy(share).float(),
            count=torch.from_numpy(count),
            user_ids=user_ids,
            order=order,
        )

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.user)

    @property
    def n_users(self) -> int:
        """The number of users N."""
        return len(self.user_ids)

    @cached_property
    def _incidence(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The sparse [n, R] matrix with +1 at each pair's chosen response, -1 at the rejected one; its transpose."""
        n = len(self)
        values = torch.cat([torch.ones(n), -torch.ones(n)])
        rows, columns = torch.arange(n).repeat(2), torch.cat([self._ends[0], self._ends[1]])
        return _sparse(rows, columns, values, (n, len(self.matrix))), _sparse(
            columns, rows, values, (len(self.matrix), n)
        )

    @property
    def _ends(self) -> tuple[torch.Tensor, torch.Tensor]:
        if self.chosen is None or self.rejected is None:
            raise AssertionError
        return self.chosen, self.rejected

    def project(self, directions: torch.Tensor) -> torch.Tensor:
        """Return d . v for every pair and direction: [n, K] from `directions` [K, D]."""
        # In this layout both products stream the matrix once; the transposed ones are several times slower.
        projected = torch.nn.functional.linear(self.matrix, directions)
        return projected if self.chosen is None else self._incidence[0] @ projected

    def pull_back(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Return sum_i coefficients[i, k] * d_i: [K, D] from `coefficients` [n, K]; the transpose of `project`."""
        if self.chosen is not None:
            coefficients = self._incidence[1] @ coefficients
        return coefficients.t().contiguous() @ self.matrix

    def pull_back_by_user(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Return sum_i coefficients[i] * d_i over each user's own pairs: [N, D] from `coefficients` [n]."""
        if self.chosen is None:
            rows, columns, values = self.user, torch.arange(len(self)), coefficients
        else:
            rows, columns = self.user.repeat(2), torch.cat(self._ends)
            values = torch.cat([coefficients, -coefficients])
        return _sparse(rows, columns, values, (self.n_users, len(self.matrix))) @ self.matrix

    def sum_by_user(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sums over each user's pairs: [N, ...] from `values` [n, ...]."""
        return values.new_zeros((self.n_users, *values.shape[1:])).index_add_(0, self.user, values)

    def mean_square(self) -> torch.Tensor:
        """Return the mean over pairs of each squared feature of the differences: float32 [D]."""
        total = torch.zeros(self.matrix.shape[1], dtype=torch.float64)
        for block in torch.split(torch.arange(len(self)), 4096):
            if self.chosen is None:
                rows = self.matrix[block]
            else:
                chosen, rejected = self._ends
                rows = self.matrix[chosen[block]] - self.matrix[rejected[block]]
            total += rows.square().sum(dim=0, dtype=torch.float64)
        return (total / len(self)).float()


def _with_exact_ties(
    matrix: torch.Tensor, chosen: torch.Tensor, rejected: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Point both ends of a pair of equal rows at one of them: products of equal rows can differ in the last digit."""
    checksum = matrix.view(torch.int32).sum(dim=1)
    likely = torch.nonzero(checksum[chosen] == checksum[rejected])[:, 0]
    tied = likely[(matrix[chosen[likely]] == matrix[rejected[likely]]).all(dim=1)]
    return chosen, rejected.index_copy(0, tied, chosen[tied])


def _sparse(rows: torch.Tensor, columns: torch.Tensor, values: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Return a matrix in compressed rows: its products run far faster than gathering and scattering."""
    with warnings.catch_warnings():
        # torch calls the layout beta; the two products used here are tested against dense ones.
        warnings.filterwarnings("ignore", message="Sparse (CSR|invariant)", category=UserWarning)
        return (
            torch.sparse_coo_tensor(torch.stack([rows, columns]), values, shape, check_invariants=False)
            .coalesce()
            .to_sparse_csr()
        )
