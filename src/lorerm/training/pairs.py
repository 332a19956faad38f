"""Comparisons packed for the solvers: sorted by user, with the two products that a solver asks of the embeddings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lorerm.embedding.matrices import LARGE, StoredMatrix, as_tensor
from lorerm.training import operators
from lorerm.training.streamed import StreamedRows

if TYPE_CHECKING:
    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.embedding.matrices import Matrix

# Below this many comparisons per distinct response, storing differences is cheaper than working on responses.
_REUSE = 2.0
# Elements up to which the matrix is held in memory.
_IN_MEMORY = LARGE
# Elements that are looked at together where the products are not concerned.
_BLOCK_ELEMENTS = 1 << 22


@dataclass(frozen=True, eq=False)
class PackedPairs:
    """Pairs of many users, grouped by user in order of first appearance.

    Parameters
    ----------
    matrix
        Float32 [R, D] or [n, D]: embeddings of the responses in use, less their mean, when `chosen` is given; else the
        differences. It may be on a GPU; the rest is on the CPU. Responses that would take more than 1 GiB so are
        streamed from where they are.
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

    matrix: torch.Tensor | StreamedRows
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
        used, (chosen_place, rejected_place) = _in_use(chosen, rejected, len(data.responses))
        if differences is None:
            differences = len(chosen) < _REUSE * len(used)
        matrix: torch.Tensor | StreamedRows
        ends: tuple[torch.Tensor | None, torch.Tensor | None] = None, None
        if (len(chosen) if differences else len(used)) * data.dimension > _IN_MEMORY:
            matrix, differences = StreamedRows.of(data.responses, used), False
        elif differences:
            matrix = _differences(data.responses, chosen, rejected)
        else:
            matrix = StreamedRows.of(data.responses, used)[:]
        if not differences:
            ends = _with_exact_ties(matrix, torch.from_numpy(chosen_place), torch.from_numpy(rejected_place))
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
        projected = operators.project(self.matrix, self._scaled(directions))
        if self.chosen is None:
            return projected
        chosen, rejected = self._ends
        by_direction = projected.t()
        return (by_direction.index_select(1, chosen) - by_direction.index_select(1, rejected)).t()

    def pull_back(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Return sum_i coefficients[i, k] * d_i: [K, D] from `coefficients` [n, K]; the transpose of `project`."""
        if self.chosen is not None:
            coefficients = self._incidence @ coefficients
        return self._scaled(operators.pull_back(self.matrix, coefficients))

    def in_one_pass(self, directions: torch.Tensor) -> bool:
        """Tell whether `project_and_pull_back` can be used: with differences in float32 on the CPU."""
        return (
            self.chosen is None
            and isinstance(self.matrix, torch.Tensor)
            and operators.in_blocks(self.matrix, directions)
        )

    def project_and_pull_back(
        self, directions: torch.Tensor, coefficients: operators.Coefficients
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return `project(directions)` and the pull-back of coefficients that depend on it, the matrix read once.

        See `operators.project_and_pull_back` for `coefficients`, a function of pairs and their projections.
        """
        if not isinstance(self.matrix, torch.Tensor):
            raise TypeError("streamed rows are read twice")
        directions = self._scaled(directions)
        projected, pulled = operators.project_and_pull_back(self.matrix, directions, coefficients)
        return projected, self._scaled(pulled)

    def pull_back_by_user(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Return sum_i coefficients[i] * d_i over each user's own pairs: [N, D] from `coefficients` [n]."""
        if self.chosen is None:
            rows, columns, values = self.user, torch.arange(len(self)), coefficients
        else:
            rows, columns = self.user.repeat(2), torch.cat(self._ends)
            values = torch.cat([coefficients, -coefficients])
        return self._scaled(operators.sparse_product(rows, columns, values, self.n_users, self.matrix))

    def of_pairs(self, weights: torch.Tensor) -> torch.Tensor:
        """Return each pair's row of `weights` [N, K], its user's: [n, K]."""
        # Laid out by direction, as the projections are: sums over a few directions are slow in the other layout.
        return weights.t().contiguous().index_select(1, self.user).t()

    def sum_by_user(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sums over each user's pairs: [N, ...] from `values` [n, ...]."""
        return torch.from_numpy(np.add.reduceat(values.numpy(), self._first, axis=0))

    def mean_square(self) -> torch.Tensor:
        """Return the mean over pairs of each squared feature of the differences: float32 [D]."""
        dimension = self.matrix.shape[1]
        total = torch.zeros(dimension, dtype=torch.float64)
        # In the order of the responses, which may have to be read from a file.
        order = torch.arange(len(self)) if self.chosen is None else self.chosen.argsort(stable=True)
        for block in torch.split(order, max(1, _BLOCK_ELEMENTS // dimension)):
            if self.chosen is None:
                rows = self.matrix[block]
            else:
                chosen, rejected = self._ends
                rows = self.matrix[chosen[block]] - self.matrix[rejected[block]]
            total += rows.square().sum(dim=0).double().cpu()
        return self._scaled(self._scaled((total / len(self)).float()))

    @cached_property
    def _first(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Each user's first pair."""
        return np.searchsorted(self.user.numpy(), np.arange(self.n_users))

    @cached_property
    def _incidence(self) -> torch.Tensor:
        """The sparse [R, n] matrix with +1 where a response is a pair's chosen one, -1 where it is the rejected one."""
        n = len(self)
        ones = torch.ones(n, dtype=self.matrix.dtype)
        columns = torch.arange(n).repeat(2)
        return operators.sparse(torch.cat(self._ends), columns, torch.cat([ones, -ones]), (len(self.matrix), n))

    @property
    def _ends(self) -> tuple[torch.Tensor, torch.Tensor]:
        if self.chosen is None or self.rejected is None:
            raise AssertionError
        return self.chosen, self.rejected

    def _scaled(self, features: torch.Tensor) -> torch.Tensor:
        """Return [..., D] multiplied by the scale."""
        return features if self.scale is None else features * self.scale


def _in_use(
    chosen: np.ndarray[Any, np.dtype[np.int64]], rejected: np.ndarray[Any, np.dtype[np.int64]], n_responses: int
) -> tuple[np.ndarray[Any, np.dtype[np.int64]], list[np.ndarray[Any, np.dtype[np.int64]]]]:
    """Return the rows in use in order, and the places in it of both columns."""
    marked = np.zeros(n_responses, dtype=bool)
    marked[chosen] = marked[rejected] = True
    used = np.flatnonzero(marked)
    if len(used) == n_responses:
        return used, [chosen, rejected]
    place = np.zeros(n_responses, dtype=np.int64)
    place[used] = np.arange(len(used))
    return used, [place[chosen], place[rejected]]


def _differences(
    responses: Matrix, chosen: np.ndarray[Any, np.dtype[np.int64]], rejected: np.ndarray[Any, np.dtype[np.int64]]
) -> torch.Tensor:
    """Return [n, D], taken in float32: in bfloat16 the subtraction of two near vectors loses most of its digits."""
    held = responses if isinstance(responses, StoredMatrix) else as_tensor(responses)
    matrix = torch.empty(len(chosen), held.shape[1], device=None if isinstance(held, StoredMatrix) else held.device)
    step = max(1, _BLOCK_ELEMENTS // held.shape[1])
    for first in range(0, len(chosen), step):
        block = slice(first, first + step)
        one, other = (held[torch.from_numpy(end[block])].float() for end in (chosen, rejected))
        torch.sub(one, other, out=matrix[block])
    return matrix


def _with_exact_ties(
    matrix: torch.Tensor | StreamedRows, chosen: torch.Tensor, rejected: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Point both ends of a pair of equal rows at one of them: products of equal rows can differ in the last digit."""
    step = max(1, _BLOCK_ELEMENTS // matrix.shape[1])
    # Allocated first: small results between the blocks would keep their memory from being used again.
    checksum = torch.empty(len(matrix), dtype=torch.int32)
    for first in range(0, len(matrix), step):
        block = slice(first, first + step)
        checksum[block] = matrix[block].view(torch.int32).sum(dim=1, dtype=torch.int32)
    likely = torch.nonzero(checksum[chosen] == checksum[rejected])[:, 0]
    equal = [(matrix[chosen[some]] == matrix[rejected[some]]).all(dim=1) for some in torch.split(likely, step)]
    tied = likely[torch.cat(equal).cpu()] if equal else likely
    return chosen, rejected.index_copy(0, tied, chosen[tied])
