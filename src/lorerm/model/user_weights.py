"""The weights of some users, as adaptation returns them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from lorerm.errors import ModelError, UnknownUserError


@dataclass(frozen=True, eq=False)
class UserWeights:
    """One row of weights per user.

    Parameters
    ----------
    user_ids
        The M users, in order of first appearance in their answers.
    weights
        Float32 [M, K].
    covariance
        Float32 [M, K, K], the posterior's (Laplace), or None where the recipe has none.
    """

    user_ids: tuple[str, ...]
    weights: torch.Tensor
    covariance: torch.Tensor | None = None

    def __len__(self) -> int:
        """Return the number of users."""
        return len(self.user_ids)

    def __getitem__(self, user_id: str) -> torch.Tensor:
        """Return one user's weights [K]; an unknown user is an `UnknownUserError`."""
        try:
            return self.weights[self._place[user_id]]
        except KeyError:
            raise UnknownUserError(
                f"user {user_id!r} has no weights here", "adapt the model to some of their answers first"
            ) from None

    @cached_property
    def _place(self) -> dict[str, int]:
        return {user: i for i, user in enumerate(self.user_ids)}

    def merge(self, users: UserWeights) -> UserWeights:
        """Return these users and `users`; whoever is in both keeps their place and has the weights of the latter.

        Raises
        ------
        ModelError
            If the two have different numbers of weights per user: they belong to different models.
        """
        if users.weights.shape[1] != self.weights.shape[1]:
            raise ModelError(
                f"the users' weights have {users.weights.shape[1]} columns, the basis has {self.weights.shape[1]}",
                "adapt them with this model",
            )
        place = self._place
        again = [i for i, user in enumerate(users.user_ids) if user in place]
        new = [i for i, user in enumerate(users.user_ids) if user not in place]
        at = [place[users.user_ids[i]] for i in again]

        def merged(old: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
            kept = old.clone()
            kept[at] = added[again]
            return torch.cat([kept, added[new]])

        covariance = None
        if self.covariance is not None and users.covariance is not None:
            covariance = merged(self.covariance, users.covariance)
        ids = self.user_ids + tuple(users.user_ids[i] for i in new)
        return UserWeights(ids, merged(self.weights, users.weights), covariance)
