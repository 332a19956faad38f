"""The personal reward model: a basis of reward directions shared by all users, and one row of weights per user."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from lorerm.embedding.matrices import as_tensor
from lorerm.errors import DataError, ModelError, UnknownUserError
from lorerm.model.hub import HubMixin
from lorerm.model.user_weights import UserWeights

if TYPE_CHECKING:
    from lorerm.data.conversation import Message
    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.embedding.encoder import Encoder, EncoderIdentity
    from lorerm.embedding.matrices import Matrix
    from lorerm.model.acquisition import Question
    from lorerm.model.posterior import WeightPrior, WeightSpace
    from lorerm.model.projected import ProjectedAnswers


@dataclass(frozen=True)
class RankedResponse:
    """A response with its reward and its place in the list that was given."""

    response: str | Sequence[Message]
    reward: float
    index: int


@dataclass(frozen=True, eq=False)
class LowRankRewardModel(HubMixin):
    """Reward of user u for a response with embedding e: e . basis @ weights_u.

    Parameters
    ----------
    basis
        Float32 [D, K]: the reward directions V; all scaling used in training is folded in.
    weights
        Float32 [N, K]: W, one row per user.
    user_ids
        The N users, in order of first appearance in the training data.
    prior
        What is believed of a user before the first answer; its mean is the population's weights.
    temperature
        s in P(chosen > rejected | u) = sigmoid(d . V w_u / s).
    requested_rank
        The rank that was asked for.
    covariance
        Float32 [N, K, K]: the weights' posterior covariance, or None where the recipe has none.
    reference
        Float32 [D]: the reward head of the encoder, or None.
    encoder
        What made the embeddings, or None when they came as arrays.
    training
        The training's settings and what selection chose, as JSON-able values.
    validation_loss
        Float32 [N]: each training user's loss on validation pairs (NaN without any), or None.
    answers
        Those of the users whose answers were kept, so that more can be added exactly; or None.
    """

    basis: torch.Tensor
    weights: torch.Tensor
    user_ids: tuple[str, ...]
    prior: WeightPrior
    temperature: float
    requested_rank: int
    covariance: torch.Tensor | None = None
    reference: torch.Tensor | None = None
    encoder: EncoderIdentity | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    validation_loss: torch.Tensor | None = None
    answers: ProjectedAnswers | None = None

    def __repr__(self) -> str:
        """Return the sizes alone: who its users are and what they like is not for a log."""
        dimension, rank = self.basis.shape
        return f"{type(self).__name__}(dimension={dimension}, rank={rank}, users={len(self.user_ids)})"

    @property
    def fitted_rank(self) -> int:
        """How many directions are left: fewer than asked for where some were not needed (0: the reference head)."""
        return 0 if self.requested_rank == 0 else self.basis.shape[1]

    @property
    def n_iter_(self) -> int | None:
        """How many iterations the fit of the basis took, as scikit-learn calls it; None where that was not noted."""
        chosen, config = self.training.get("chosen", {}), self.training.get("config", {})
        found: int | None = chosen.get("iterations", config.get("steps"))
        return found

    @property
    def weight_space(self) -> WeightSpace:
        """`simplex` (weights are positive and sum to 1, as in the paper) or `free` (signed)."""
        return self.prior.weight_space

    @property
    def population_weights(self) -> torch.Tensor:
        """Float32 [K]: the weights of somebody of whom nothing is known."""
        return self.prior.mean.float()

    @cached_property
    def _place(self) -> dict[str, int]:
        return {user: i for i, user in enumerate(self.user_ids)}

    def users(self) -> UserWeights:
        """Return the users' weights, and what is kept beside them."""
        return UserWeights(self.user_ids, self.weights, self.covariance, self.answers)

    def user_weights(self, user_id: str | None, *, population: bool = False) -> torch.Tensor:
        """Return the weights [K] of a user; `None`, or an unknown user with `population=True`, is the population.

        Raises
        ------
        UnknownUserError
            If the model has no weights for `user_id` and `population` is False.
        """
        if user_id is None:
            return self.population_weights
        place = self._place.get(user_id)
        if place is not None:
            return self.weights[place]
        if population:
            return self.population_weights
        known = f"its {len(self.user_ids)} users are others" if self.user_ids else "it was saved without its users"
        raise UnknownUserError(
            f"user {user_id!r} is unknown to this model ({known})",
            "adapt the model to some of their answers, or ask for the population's model (population=True)",
        )

    def rewards(self, embeddings: Matrix, user_id: str | None = None, *, population: bool = False) -> torch.Tensor:
        """Return float32 [B]: the rewards of embeddings [B, D] for one user.

        Raises
        ------
        UnknownUserError
            If the model does not know the user and `population` is False.
        DataError
            If the embeddings' dimension is not the basis's.
        """
        weights = self.user_weights(user_id, population=population)
        embedded = self._checked(embeddings)
        return embedded.to(self.basis) @ (self.basis @ weights)

    def _checked(self, embeddings: Matrix) -> torch.Tensor:
        embedded = as_tensor(embeddings)
        if embedded.ndim != 2 or embedded.shape[1] != self.basis.shape[0]:
            raise DataError(
                f"embeddings have shape {tuple(embedded.shape)}, the basis has dimension {self.basis.shape[0]}",
                "give a matrix [B, D] made by the encoder that the model was trained on",
            )
        return embedded

    def rank(
        self,
        prompt: str | Sequence[Message],
        responses: Sequence[str | Sequence[Message]],
        user_id: str | None = None,
        *,
        encoder: Encoder,
        population: bool = False,
    ) -> list[RankedResponse]:
        """Return the responses with their rewards for one user, best first; equal rewards keep their order.

        Raises
        ------
        ModelError
            If the encoder is not the one that the model was trained on.
        """
        if not responses:
            self.check_encoder(encoder.identity)
            return []
        embedded = self._embed(prompt, responses, encoder)
        rewards = self.rewards(embedded, user_id, population=population).numpy()
        best_first = np.argsort(-rewards, kind="stable")
        return [RankedResponse(responses[i], float(rewards[i]), int(i)) for i in best_first]

    def _embed(
        self,
        prompt: str | Sequence[Message] | None,
        responses: Sequence[str | Sequence[Message]],
        encoder: Encoder,
    ) -> np.ndarray[Any, np.dtype[np.float32]]:
        from lorerm.data.conversation import as_conversation

        self.check_encoder(encoder.identity)
        return encoder.encode([as_conversation(prompt, response) for response in responses])

    def next_question(
        self,
        user: UserWeights | str | None,
        candidates: Matrix | Sequence[str | Sequence[Message]],
        *,
        prompt: str | Sequence[Message] | None = None,
        encoder: Encoder | None = None,
        pairs: Sequence[tuple[int, int]] | None = None,
        top: int | None = None,
        stop_below: float = 0.05,
    ) -> Question | None:
        """Return the pair of candidates whose answer teaches most about a user; None where asking is not worth it.

        Nothing changes: add the answer with `UserWeights.update`, and ask again.

        Parameters
        ----------
        user
            The user's weights (of one user), a user of the model, or None for somebody of whom nothing is known.
        candidates
            Embeddings [C, D]; or C responses to `prompt`, which `encoder` embeds.
        prompt, encoder
            With responses as text.
        pairs
            The pairs of candidates that may be asked about, such as those of one prompt; None is all.
        top
            How many of the best candidates matter, in their order; None is the whole ranking.
        stop_below
            The question is None where every answer would change the ranking with a probability below this.

        Raises
        ------
        ModelError
            If the weights have no posterior, as those of the paper recipes, or the encoder is another one.
        """
        from lorerm.model.acquisition import choose_question, posterior_of

        if encoder is not None:
            candidates = self._embed(prompt, cast("Sequence[str]", candidates), encoder)
        embedded = self._checked(cast("Matrix", candidates))
        return choose_question(self, posterior_of(self, user), embedded, pairs, stop_below=stop_below, top=top)

    def with_users(self, users: UserWeights) -> LowRankRewardModel:
        """Return a new model that also knows `users`; a user whom it knew already gets the new weights."""
        return self._with_only(self.users().merge(users))

    def without_users(self, user_ids: Collection[str]) -> LowRankRewardModel:
        """Return a new model that does not know these users; their share in the basis stays until the next training."""
        return self._with_only(self.users().forget(user_ids))

    def _with_only(self, users: UserWeights) -> LowRankRewardModel:
        losses = self.validation_loss
        if losses is not None:
            place = torch.tensor([self._place.get(user, len(losses)) for user in users.user_ids], dtype=torch.int64)
            losses = torch.cat([losses, losses.new_full((1,), torch.nan)])[place]
        return replace(
            self,
            user_ids=users.user_ids,
            weights=users.weights,
            covariance=users.covariance,
            answers=users.answers,
            validation_loss=losses,
        )

    def check_embeddings(self, data: EmbeddedPreferences) -> None:
        """Refuse comparisons that were embedded otherwise than the model's training data.

        Raises
        ------
        DataError
            If their dimension or encoder are others.
        """
        remedy = "embed the answers with the encoder that the model was trained on"
        if data.dimension != self.basis.shape[0]:
            raise DataError(
                f"the answers' embeddings have dimension {data.dimension}, the model's basis {self.basis.shape[0]}",
                remedy,
            )
        if None not in (data.encoder, self.encoder) and data.encoder != self.encoder:
            raise DataError(
                "the answers were embedded by another encoder, or with other settings, than the model's training data",
                remedy,
            )

    def check_encoder(self, encoder: EncoderIdentity) -> None:
        """Refuse embeddings of another encoder than the training's; nothing is known where those came as arrays.

        Raises
        ------
        ModelError
            If it is another model, another version of it, or has other settings.
        """
        if self.encoder is not None and encoder != self.encoder:
            raise ModelError(
                f"the model was trained on embeddings of {self.encoder.model!r}, this encoder is "
                f"{encoder.model!r} or has other settings",
                "pass the encoder of the training run",
            )
