"""Comparisons projected on a basis: the K numbers d . V of each, which its user's posterior depends on.

With these kept, adding comparisons to a user's weights gives the fit on all of the user's comparisons together. The
earlier posterior alone, a Gaussian, would give an approximation of it. They are personal data, as the weights are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lorerm.embedding.matrices import StoredMatrix, as_tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lorerm.embedding.embedded_preferences import EmbeddedPreferences


@dataclass(frozen=True, eq=False)
class ProjectedComparisons:
    """Projected comparisons of some users, grouped by user."""

    projected: torch.Tensor
    """float32 [n, K]: d . V of each comparison"""
    count: torch.Tensor
    """float32 [n]: the weight of each comparison in the likelihood"""
    user: torch.Tensor
    """int64 [n], non-decreasing: the index of each comparison's user"""

    @classmethod
    def empty(cls, rank: int) -> ProjectedComparisons:
        """Return no comparisons, with K = `rank` columns."""
        return cls(torch.zeros(0, rank), torch.zeros(0), torch.zeros(0, dtype=torch.int64))

    @classmethod
    def of(cls, data: EmbeddedPreferences, basis: torch.Tensor) -> tuple[tuple[str, ...], ProjectedComparisons]:
        """Return the users in order of first appearance, and their comparisons projected on a basis [D, K].

        Meant for a few comparisons; `lorerm.adapt` projects many in bounded memory.
        """
        user_ids, index = data.index_users()
        order = torch.from_numpy(index).argsort(stable=True)
        chosen, rejected = (torch.from_numpy(rows)[order] for rows in data.rows())
        responses = data.responses if isinstance(data.responses, StoredMatrix) else as_tensor(data.responses)
        # Converted to float32 first: subtracting two similar bfloat16 vectors would lose most digits.
        difference = responses[chosen].to(basis) - responses[rejected].to(basis)
        count = torch.tensor(data.weights, dtype=torch.float32)[order]
        return user_ids, cls(difference @ basis, count, torch.from_numpy(index)[order])

    @classmethod
    def concatenate(cls, parts: Sequence[ProjectedComparisons]) -> ProjectedComparisons:
        """Return all parts in order; the result is grouped by user if each part's indices follow those before it."""
        columns = zip(*((part.projected, part.count, part.user) for part in parts), strict=True)
        return cls(*(torch.cat(column) for column in columns))

    def __len__(self) -> int:
        """Return the number of comparisons."""
        return len(self.user)

    def take(self, users: torch.Tensor) -> ProjectedComparisons:
        """Return the comparisons of the users with these indices (int64 [m]), who get the indices 0..m-1.

        An index that does not occur gives a user without comparisons.
        """
        first = torch.searchsorted(self.user, users)
        lengths = torch.searchsorted(self.user, users, right=True) - first
        user = torch.repeat_interleave(torch.arange(len(users)), lengths)
        before = torch.repeat_interleave(first - (lengths.cumsum(0) - lengths), lengths)
        rows = torch.arange(len(user)) + before
        return ProjectedComparisons(self.projected[rows], self.count[rows], user)

    def join(self, more: ProjectedComparisons) -> ProjectedComparisons:
        """Return these comparisons and `more` of the same users, each user's earlier ones first."""
        both = ProjectedComparisons.concatenate([self, more])
        order = both.user.argsort(stable=True)
        return ProjectedComparisons(both.projected[order], both.count[order], both.user[order])
