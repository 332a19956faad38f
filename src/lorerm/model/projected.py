"""Users' answers as their posterior needs them: d . V of each, from which weights are fitted again exactly.

A pair's difference d of embeddings enters a user's posterior through its K projections alone. Keeping these, K numbers
an answer, makes an update equal to the fit on all answers together; the posterior's Gaussian alone would not be. They
are personal data, as the weights are.
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
class ProjectedAnswers:
    """Answers of some users, grouped by user.

    Parameters
    ----------
    projected
        Float32 [n, K]: d . V of each answer.
    count
        Float32 [n]: how many judgements each stands for.
    user
        Int64 [n], non-decreasing: the user's place among the users whom these are the answers of.
    """

    projected: torch.Tensor
    count: torch.Tensor
    user: torch.Tensor

    @classmethod
    def none(cls, rank: int) -> ProjectedAnswers:
        """Return no answers."""
        return cls(torch.zeros(0, rank), torch.zeros(0), torch.zeros(0, dtype=torch.int64))

    @classmethod
    def of(cls, data: EmbeddedPreferences, basis: torch.Tensor) -> tuple[tuple[str, ...], ProjectedAnswers]:
        """Return the users of some comparisons, in order of first appearance, and their answers projected on a basis.

        Meant for a few answers at a time; `adapt` takes many.
        """
        user_ids, place = data.index_users()
        order = torch.from_numpy(place).argsort(stable=True)
        chosen, rejected = (torch.from_numpy(rows)[order] for rows in data.rows())
        held = data.responses if isinstance(data.responses, StoredMatrix) else as_tensor(data.responses)
        # In float32 before the subtraction: in bfloat16 it would lose most digits.
        difference = held[chosen].to(basis) - held[rejected].to(basis)
        count = torch.tensor(data.weights, dtype=torch.float32)[order]
        return user_ids, cls(difference @ basis, count, torch.from_numpy(place)[order])

    @classmethod
    def concatenate(cls, parts: Sequence[ProjectedAnswers]) -> ProjectedAnswers:
        """Return the answers of some users after those of others, numbered throughout already."""
        columns = zip(*((part.projected, part.count, part.user) for part in parts), strict=True)
        return cls(*(torch.cat(column) for column in columns))

    def __len__(self) -> int:
        """Return the number of answers."""
        return len(self.user)

    def take(self, places: torch.Tensor) -> ProjectedAnswers:
        """Return the answers of the users at `places` (int64 [m]), numbered in that order."""
        first = torch.searchsorted(self.user, places)
        lengths = torch.searchsorted(self.user, places, right=True) - first
        user = torch.repeat_interleave(torch.arange(len(places)), lengths)
        before = torch.repeat_interleave(first - (lengths.cumsum(0) - lengths), lengths)
        rows = torch.arange(len(user)) + before
        return ProjectedAnswers(self.projected[rows], self.count[rows], user)

    def join(self, more: ProjectedAnswers) -> ProjectedAnswers:
        """Return both, each user's earlier answers first; the two number the same users."""
        user = torch.cat([self.user, more.user])
        order = user.argsort(stable=True)
        projected = torch.cat([self.projected, more.projected])
        return ProjectedAnswers(projected[order], torch.cat([self.count, more.count])[order], user[order])
