"""Comparisons packed for the solvers: sorted by user, with the two products that a solver asks of the embeddings."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lorerm.encoding.embedded_preferences import as_tensor
from lorerm.learning import products

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
    scale
        Float32 [D]: what each feature of `matrix` is multiplied by, or None for 1. The products apply it to the
        directions instead, so that scaled pairs share the matrix of the others.
    """

    matrix: torch.Tensor
    chosen: torch.Tensor | None
    rejected: torch.Tensor | None
    user: torch.Tensor
    weight: torch.Tensor
    count: torch.Tensor
    user_ids: tuple[str, ...]
    order: np.ndarray[Any, np.dtype[np.int64]]
    scale: torch.Tensor | None = None

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

    def with_scale(self, scale: torch.Tensor) -> PackedPairs:
        """Return the pairs with features multiplied by `scale` [D]; the matrix is shared, not copied."""
        return replace(self, scale=scale if self.scale is None else self.scale * scale)

    def project(self, directions: torch.Tensor) -> torch.Tensor:
        """Return d . v for every pair and direction: [n, K] from `directions` [K, D]."""
        projected = products.project(self.matrix, self._scaled(directions))
        if self.chosen is None:
            return projected
        chosen, rejected = self._ends
        by_direction = projected.t()
        return (by_direction.index_select(1, chosen) - by_direction.index_select(1, rejected)).t()

    def pull_back(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Return sum_i coefficients[i, k] * d_i: [K, D] from `coefficients` [n, K]; the transpose of `project`."""
        if self.chosen is not None:
            coefficients = self._incidence @ coefficients
        return self._scaled(products.pull_back(self.matrix, coefficients))

    def in_one_pass(self, directions: torch.Tensor) -> bool:
        """Tell whether `project_and_pull_back` can be used: with differences in float32 on the CPU."""
        return self.chosen is None and products.in_blocks(self.matrix, directions)

    def project_and_pull_back(
        self, directions: torch.Tensor, coefficients: products.Coefficients, threads: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return `project(directions)` and the pull-back of coefficients that depend on it, the matrix read once.

        See `products.project_and_pull_back` for `coefficients`, a function of pairs and their projections.
        """
        directions = self._scaled(directions)
        projected, pulled = products.project_and_pull_back(self.matrix, directions, coefficients, threads)
        return projected, self._scaled(pulled)

    def pull_back_by_user(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Return sum_i coefficients[i] * d_i over each user's own pairs: [N, D] from `coefficients` [n]."""
        if self.chosen is None:
            rows, columns, values = self.user, torch.arange(len(self), device=self.user.device), coefficients
        else:
            rows, columns = self.user.repeat(2), torch.cat(self._ends)
            values = torch.cat([coefficients, -coefficients])
        return self._scaled(_sparse(rows, columns, values, (self.n_users, len(self.matrix))) @ self.matrix)

    def of_pairs(self, weights: torch.Tensor) -> torch.Tensor:
        """Return each pair's row of `weights` [N, K], its user's: [n, K]."""
        # Laid out by direction, as the projections are: sums over a few directions are slow in the other layout.
        return weights.t().contiguous().index_select(1, self.user).t()

    def sum_by_user(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sums over each user's pairs: [N, ...] from `values` [n, ...]."""
        if values.device.type == "cpu":
            return torch.from_numpy(np.add.reduceat(values.numpy(), self._first, axis=0))
        return values.new_zeros((self.n_users, *values.shape[1:])).index_add_(0, self.user, values)

    def mean_square(self) -> torch.Tensor:
        """Return the mean over pairs of each squared feature of the differences: float32 [D]."""
        total = torch.zeros(self.matrix.shape[1], dtype=torch.float64, device=self.matrix.device)
        for block in torch.split(torch.arange(len(self), device=self.user.device), 4096):
            if self.chosen is None:
                rows = self.matrix[block]
            else:
                chosen, rejected = self._ends
                rows = self.matrix[chosen[block]] - self.matrix[rejected[block]]
            total += rows.square().sum(dim=0, dtype=torch.float64)
        return self._scaled(self._scaled((total / len(self)).float()))

    @cached_property
    def _first(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Each user's first pair."""
        return np.searchsorted(self.user.numpy(), np.arange(self.n_users))

    @cached_property
    def _incidence(self) -> torch.Tensor:
        """The sparse [R, n] matrix with +1 where a response is a pair's chosen one, -1 where it is the rejected one."""
        n = len(self)
        ones = torch.ones(n, dtype=self.matrix.dtype, device=self.matrix.device)
        columns = torch.arange(n, device=self.user.device).repeat(2)
        return _sparse(torch.cat(self._ends), columns, torch.cat([ones, -ones]), (len(self.matrix), n))

    @property
    def _ends(self) -> tuple[torch.Tensor, torch.Tensor]:
        if self.chosen is None or self.rejected is None:
            raise AssertionError
        return self.chosen, self.rejected

    def _scaled(self, features: torch.Tensor) -> torch.Tensor:
        """Return [..., D] multiplied by the scale."""
        return features if self.scale is None else features * self.scale


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
