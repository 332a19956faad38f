"""Comparisons projected on the basis: the K numbers d . V for each comparison.

Here d is the embedding of the chosen response minus that of the rejected one, and V the basis [D, K]. Comparisons
affect user weights only through these numbers. If a user's projections are kept, the weights can later be fitted to
earlier and new comparisons together; the earlier posterior, a Gaussian, would only give an approximation. Projections
are personal data, like the weights.
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
    """Projected comparisons of several users, grouped by user."""

    projected: torch.Tensor
    """float32 [n, K]: d . V of each comparison"""
    count: torch.Tensor
    """float32 [n]: the weight of each comparison in the likelihood"""
    user: torch.Tensor
    """int64 [n], non-decreasing: the index of each comparison's user"""

    @classmethod
    def empty(cls, rank: int) -> ProjectedComparisons:
        """Return an empty set of comparisons with K = `rank` columns."""
        return cls(torch.zeros(0, rank), torch.zeros(0), torch.zeros(0, dtype=torch.int64))

    @classmethod
    def of(cls, data: EmbeddedPreferences, basis: torch.Tensor) -> tuple[tuple[str, ...], ProjectedComparisons]:
        """Project comparisons on a basis [D, K]; return the users in order of first appearance, and the projections.

        Use it for few comparisons only: `lorerm.adapt` projects any number of comparisons in bounded memory.
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
        """Join the parts in the given order.

        The result is grouped by user only if the user indices of each part are not smaller than in the part before.
        """
        columns = zip(*((part.projected, part.count, part.user) for part in parts), strict=True)
        return cls(*(torch.cat(column) for column in columns))

    def __len__(self) -> int:
        """Return the number of comparisons."""
        return len(self.user)

    def take(self, users: torch.Tensor) -> ProjectedComparisons:
        """Return the comparisons of the users with the given indices (int64 [m]), who get the new indices 0 to m - 1.

        A user without comparisons, or an index that does not occur (such as -1), gets no comparisons.
        """
        first = torch.searchsorted(self.user, users)
        lengths = torch.searchsorted(self.user, users, right=True) - first
        user = torch.repeat_interleave(torch.arange(len(users)), lengths)
        # For each row of the result: the number to add to its index to get its row in `self`.
        before = torch.repeat_interleave(first - (lengths.cumsum(0) - lengths), lengths)
        rows = torch.arange(len(user)) + before
        return ProjectedComparisons(self.projected[rows], self.count[rows], user)

    def join(self, more: ProjectedComparisons) -> ProjectedComparisons:
        """Return the comparisons of `self` and `more`, grouped by user; each user's comparisons in `self` come first.

        User indices mean the same users in both.
        """
        both = ProjectedComparisons.concatenate([self, more])
        order = both.user.argsort(stable=True)
        return ProjectedComparisons(both.projected[order], both.count[order], both.user[order])
