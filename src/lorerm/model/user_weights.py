"""The weights of some users, as adaptation returns them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from lorerm.errors import ModelError, UnknownUserError
from lorerm.model.posterior import WeightPrior, solve
from lorerm.model.projected import ProjectedAnswers

if TYPE_CHECKING:
    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.model.reward_model import LowRankRewardModel


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
    answers
        What the weights were fitted on, so that more answers can be added exactly; None where it was not kept.
    """

    user_ids: tuple[str, ...]
    weights: torch.Tensor
    covariance: torch.Tensor | None = None
    answers: ProjectedAnswers | None = None

    def __repr__(self) -> str:
        """Return the sizes alone: who the users are and what they like is not for a log."""
        return f"{type(self).__name__}(users={len(self)}, rank={self.weights.shape[1]})"

    def __len__(self) -> int:
        """Return the number of users."""
        return len(self.user_ids)

    def __getitem__(self, user_id: str) -> torch.Tensor:
        """Return one user's weights [K]; an unknown user is an `UnknownUserError`."""
        return self.weights[self._place_of(user_id)]

    def __contains__(self, user_id: object) -> bool:
        """Tell whether a user is among them."""
        return user_id in self._place

    @cached_property
    def _place(self) -> dict[str, int]:
        return {user: i for i, user in enumerate(self.user_ids)}

    def _place_of(self, user_id: str) -> int:
        try:
            return self._place[user_id]
        except KeyError:
            raise UnknownUserError(
                f"user {user_id!r} has no weights here", "adapt the model to some of their answers first"
            ) from None

    def select(self, user_ids: Collection[str]) -> UserWeights:
        """Return some of the users, in the order given; an unknown one is an `UnknownUserError`."""
        return self._take(torch.tensor([self._place_of(user) for user in user_ids], dtype=torch.int64))

    def forget(self, user_ids: Collection[str]) -> UserWeights:
        """Return everybody but these users; of whom nothing is known, there is nothing to forget."""
        gone = set(user_ids)
        kept = [i for i, user in enumerate(self.user_ids) if user not in gone]
        return self._take(torch.tensor(kept, dtype=torch.int64))

    def _take(self, places: torch.Tensor) -> UserWeights:
        return UserWeights(
            tuple(self.user_ids[i] for i in places.tolist()),
            self.weights[places],
            None if self.covariance is None else self.covariance[places],
            None if self.answers is None else self.answers.take(places),
        )

    def merge(self, users: UserWeights) -> UserWeights:
        """Return these users and `users`; whoever is in both keeps their place and has what the latter has of them.

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
        if not (len(self) and len(users)):  # nobody has no covariance to lack
            return users if len(users) else self
        place = self._place
        again = [i for i, user in enumerate(users.user_ids) if user in place]
        new = [i for i, user in enumerate(users.user_ids) if user not in place]
        # Where each of the merged users is in the two, one behind the other.
        source = torch.arange(len(self) + len(new))
        source[[place[users.user_ids[i]] for i in again]] = torch.tensor(again, dtype=torch.int64) + len(self)
        source[len(self) :] = torch.tensor(new, dtype=torch.int64) + len(self)

        covariance = None
        if self.covariance is not None and users.covariance is not None:
            covariance = torch.cat([self.covariance, users.covariance])[source]
        answers = None
        if self.answers is not None or users.answers is not None:
            none = ProjectedAnswers.none(self.weights.shape[1])
            mine, theirs = self.answers or none, users.answers or none
            answers = replace(theirs, user=theirs.user + len(self))
            answers = mine.join(answers).take(source)
        ids = self.user_ids + tuple(users.user_ids[i] for i in new)
        return UserWeights(ids, torch.cat([self.weights, users.weights])[source], covariance, answers)

    def update(self, answers: EmbeddedPreferences, model: LowRankRewardModel) -> UserWeights:
        """Add answers to what is known of their users; everybody else stays as they are.

        Who is not here yet starts from the model's prior. With the earlier answers kept, the result is the fit on all
        answers together. Without them the posterior so far, a Gaussian, takes the prior's place, which is close but not
        the same. It takes milliseconds for a user; of very many users, `select` those who answered first.

        Parameters
        ----------
        answers
            The new answers alone, embedded by the encoder that the model was trained on.
        model
            The model that the weights belong to: its basis, prior and temperature.

        Raises
        ------
        DataError
            If the answers were embedded otherwise than the model's training data.
        ModelError
            If the weights were fitted without a posterior, as the published adaptation does.
        """
        model.check_embeddings(answers)
        return self.add(*ProjectedAnswers.of(answers, model.basis), model)

    def add(self, user_ids: Sequence[str], new: ProjectedAnswers, model: LowRankRewardModel) -> UserWeights:
        """Add answers of the users named, projected on the model's basis already; otherwise as `update`.

        Raises
        ------
        ModelError
            As `update`.
        """
        before = self.select([user for user in user_ids if user in self._place])
        kept = before.answers or ProjectedAnswers.none(model.basis.shape[1])
        place = {user: i for i, user in enumerate(before.user_ids)}
        refittable = {None, *kept.user.tolist()}
        exact = [i for i, user in enumerate(user_ids) if place.get(user) in refittable]
        result = UserWeights((), self.weights[:0], None if self.covariance is None else self.covariance[:0])
        if exact:
            old = torch.tensor([place.get(user_ids[i], -1) for i in exact])
            all_answers = kept.take(old).join(new.take(torch.tensor(exact)))
            result = _fit([user_ids[i] for i in exact], all_answers, model.prior, model.temperature)
        for i in sorted(set(range(len(user_ids))) - set(exact)):
            refined = _refine(before, user_ids[i], new.take(torch.tensor([i])), model)
            result = refined if not len(result) else result.merge(refined)
        return self.merge(result)


def _refine(users: UserWeights, user_id: str, new: ProjectedAnswers, model: LowRankRewardModel) -> UserWeights:
    """Return one user's weights after more answers, with the posterior so far in the prior's place."""
    known = users.select([user_id])
    if known.covariance is None or model.weight_space != "free":
        raise ModelError(
            f"of user {user_id!r} neither the answers so far nor a Gaussian posterior were kept",
            "adapt the model to all of their answers with the default recipe",
        )
    prior = WeightPrior(known.weights[0].double(), known.covariance[0].double())
    return replace(_fit([user_id], new, prior, model.temperature), answers=None)


def _fit(user_ids: Sequence[str], answers: ProjectedAnswers, prior: WeightPrior, temperature: float) -> UserWeights:
    posterior = solve(answers.projected, answers.user, answers.count, len(user_ids), prior, temperature)
    return UserWeights(tuple(user_ids), posterior.weights.float(), posterior.covariance.float(), answers)
