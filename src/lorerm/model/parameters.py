"""The parameters of a low-rank reward model, as plain data.

Modules that save, publish, describe and export a model use this class. Its subclass
`lorerm.model.reward_model.LowRankRewardModel` adds rewards and rankings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lorerm.data.ids import as_id
from lorerm.errors import UnknownUserError

if TYPE_CHECKING:
    import torch

    from lorerm.embedding.encoder import EncoderIdentity
    from lorerm.model.prior import WeightPrior, WeightSpace
    from lorerm.model.projected import ProjectedComparisons


@dataclass(frozen=True, eq=False)
class ModelParameters:
    """A reward model's basis (its reward directions), user weights, prior over weights, and record of its training."""

    basis: torch.Tensor
    """float32 [D, K]: V, with one reward direction per column, for embeddings as the encoder returns them"""
    weights: torch.Tensor
    """float32 [N, K]: the users' weights w_u, one row per user"""
    user_ids: tuple[str, ...]
    """the N users, in order of first appearance in the training data"""
    prior: WeightPrior
    """the prior over weights; its mean is the population weights, which a user without comparisons gets"""
    temperature: float
    """s in P(chosen > rejected | u) = sigmoid(d . V w_u / s), with d the embedding of the chosen response minus that of
    the rejected one"""
    requested_rank: int
    """the rank that training was asked for; the basis can have fewer columns"""
    covariance: torch.Tensor | None = None
    """float32 [N, K, K]: the posterior covariance of the weights; None if the recipe computes no covariance"""
    reference: torch.Tensor | None = None
    """float32 [D]: the reference head, which is the linear head of the reward model that made the embeddings; None if
    there is no such head"""
    encoder: EncoderIdentity | None = None
    """the encoder that made the embeddings; None if they were given as arrays"""
    training: Mapping[str, Any] = field(default_factory=dict)
    """configuration, chosen settings and validation results of the training, as JSON-serialisable values"""
    validation_loss: torch.Tensor | None = None
    """float32 [N]: each user's mean loss on the held-out comparisons of the validation split; NaN for users without
    such comparisons, None if there was no validation split"""
    comparisons: ProjectedComparisons | None = None
    """the projected comparisons that the weights were fitted to, to which more can be added later; None if they were
    not kept"""

    def __repr__(self) -> str:
        """Return only sizes: user ids and weights are personal data and must not get into logs."""
        dimension, rank = self.basis.shape
        return f"{type(self).__name__}(dimension={dimension}, rank={rank}, users={len(self.user_ids)})"

    @property
    def fitted_rank(self) -> int:
        """Number of directions in the basis (at most the requested rank); 0 if it is the reference head alone."""
        return 0 if self.requested_rank == 0 else self.basis.shape[1]

    @property
    def weight_space(self) -> WeightSpace:
        """`simplex` (weights are positive and sum to 1, as in arXiv 2504.14439) or `free` (of either sign)."""
        return self.prior.weight_space

    @property
    def population_weights(self) -> torch.Tensor:
        """Float32 [K]: the prior mean, used for users without comparisons."""
        return self.prior.mean.float()

    @cached_property
    def _row(self) -> dict[str, int]:
        return {user: i for i, user in enumerate(self.user_ids)}

    def user_weights(self, user_id: str | None, *, population: bool = False) -> torch.Tensor:
        """Return the weights [K] of a user.

        Parameters
        ----------
        user_id
            The user; None gives the population weights.
        population
            Whether an unknown user gets the population weights, too.

        Raises
        ------
        DataError
            If `user_id` is no id, for instance NaN or 1.5 (`lorerm.data.ids`).
        UnknownUserError
            If the model has no weights for `user_id` and `population` is False.
        """
        if user_id is None:
            return self.population_weights
        user_id = as_id(user_id)
        row = self._row.get(user_id)
        if row is not None:
            return self.weights[row]
        if population:
            return self.population_weights
        known = f"it has {len(self.user_ids)} other users" if self.user_ids else "it contains no users"
        raise UnknownUserError(
            f"user {user_id!r} is unknown to this model ({known})",
            "adapt the model to some of the user's comparisons, or ask for the population's rewards (population=True)",
            argument="user_id",
        )
