"""The personal reward model: rewards and rankings from a basis shared by all users and the weights of each user."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from lorerm.data.conversation import as_conversation, check_several
from lorerm.embedding.checks import check_finite
from lorerm.embedding.matrices import as_tensor
from lorerm.errors import DataError
from lorerm.model.acquisition import choose_question, posterior_of
from lorerm.model.compatibility import check_encoder
from lorerm.model.hub import PretrainedModel
from lorerm.model.user_weights import UserWeights

if TYPE_CHECKING:
    from lorerm.data.conversation import Message
    from lorerm.embedding.encoder import Encoder
    from lorerm.embedding.matrices import Matrix
    from lorerm.model.acquisition import Question


@dataclass(frozen=True)
class RankedResponse:
    """A response with its reward and its index in the given list."""

    response: str | Sequence[Message]
    reward: float
    index: int


class LowRankRewardModel(PretrainedModel):
    """A personal reward model: the reward of user u for a response with embedding e is e . V w_u.

    V is the basis [D, K] and w_u the user's weights [K]. `lorerm.model.parameters.ModelParameters` lists all fields.
    Models are immutable: methods that change the users return a new model.
    """

    def users(self) -> UserWeights:
        """Return the model's users: ids, weights, covariances and projected comparisons."""
        return UserWeights.of(self)

    def rewards(self, embeddings: Matrix, user_id: str | None = None, *, population: bool = False) -> torch.Tensor:
        """Return the rewards of B embedded responses for one user: float32 [B].

        Parameters
        ----------
        embeddings
            Float [B, D], torch or NumPy.
        user_id, population
            The user, as in `user_weights`; None gives the rewards for a user without comparisons (population weights).

        Raises
        ------
        UnknownUserError
            If the model does not know the user and `population` is False.
        DataError
            If the embeddings and the basis differ in dimension.
        """
        weights = self.user_weights(user_id, population=population)
        embedded = self._checked(embeddings)
        return embedded.to(self.basis) @ (self.basis @ weights)

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
        DataError
            If `responses` is a single text, not a list, or one of them is not a response.
        ModelError
            If the encoder is not the one that the model was trained on.
        UnknownUserError
            If the model does not know the user and `population` is False.
        """
        check_several(responses, "responses")
        if not responses:
            check_encoder(self, encoder.identity)
            return []
        embedded = self._embed(prompt, responses, encoder)
        rewards = self.rewards(embedded, user_id, population=population).numpy()
        best_first = np.argsort(-rewards, kind="stable")
        return [RankedResponse(responses[i], float(rewards[i]), int(i)) for i in best_first]

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
        """Return the pair of candidates whose comparison is most informative about a user; None if asking can stop.

        The model is not changed: add the user's choice with `UserWeights.update`, then call this method again.

        Parameters
        ----------
        user
            A `UserWeights` with one user, a user id of the model, or None for a user without comparisons.
        candidates
            Embeddings [C, D]; or C responses to `prompt`, which `encoder` embeds.
        prompt, encoder
            Needed if the candidates are responses, not embeddings.
        pairs
            The pairs of candidates to choose from, as indices; for example pairs with one prompt. None is all pairs.
        top
            Only the order of this many best candidates matters; None is the whole ranking.
        stop_below
            Return None if no choice would change the ranking with at least this probability.

        Raises
        ------
        ModelError
            If the user's weights have no covariance, or the encoder is not the one of the training.
        """
        check_several(candidates, "candidates")
        if encoder is not None:
            candidates = self._embed(prompt, cast("Sequence[str]", candidates), encoder)
        embedded = self._checked(cast("Matrix", candidates))
        return choose_question(self, posterior_of(self, user), embedded, pairs, stop_below=stop_below, top=top)

    def with_users(self, users: UserWeights) -> LowRankRewardModel:
        """Return a new model with `users` added; users already in the model get the new weights."""
        return self._replace_users(self.users().merge(users))

    def without_users(self, user_ids: Collection[str], *, missing_ok: bool = False) -> LowRankRewardModel:
        """Return a new model without these users; their influence on the basis stays until the next training.

        Raises `UnknownUserError` if the model does not know one of them, unless `missing_ok` is True.
        """
        return self._replace_users(self.users().forget(user_ids, missing_ok=missing_ok))

    def _replace_users(self, users: UserWeights) -> LowRankRewardModel:
        losses = self.validation_loss
        if losses is not None:
            # New users get the NaN that is appended to the losses.
            row = torch.tensor([self._row.get(user, len(losses)) for user in users.user_ids], dtype=torch.int64)
            losses = torch.cat([losses, losses.new_full((1,), torch.nan)])[row]
        return replace(
            self,
            user_ids=users.user_ids,
            weights=users.weights,
            covariance=users.covariance,
            comparisons=users.comparisons,
            validation_loss=losses,
        )

    def _checked(self, embeddings: Matrix) -> torch.Tensor:
        embedded = as_tensor(embeddings)
        if embedded.ndim != 2 or embedded.shape[1] != self.basis.shape[0]:
            raise DataError(
                f"embeddings have shape {tuple(embedded.shape)}, the basis has dimension {self.basis.shape[0]}",
                "give a matrix [B, D] made by the encoder that the model was trained on",
                argument="embeddings",
            )
        check_finite(embedded, "embeddings")
        return embedded

    def _embed(
        self,
        prompt: str | Sequence[Message] | None,
        responses: Sequence[str | Sequence[Message]],
        encoder: Encoder,
    ) -> np.ndarray[Any, np.dtype[np.float32]]:
        check_encoder(self, encoder.identity)
        return encoder.encode([as_conversation(prompt, response) for response in responses])
