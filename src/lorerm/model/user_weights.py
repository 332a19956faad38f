"""Weights of several users: the result of adaptation, which later comparisons can update."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from lorerm.data.ids import as_id, as_ids, check_known
from lorerm.errors import DataError, ModelError, UnknownUserError
from lorerm.model.compatibility import check_embeddings
from lorerm.model.posterior import solve
from lorerm.model.prior import WeightPrior
from lorerm.model.projected import ProjectedComparisons

if TYPE_CHECKING:
    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.model.parameters import ModelParameters


@dataclass(frozen=True, eq=False)
class UserWeights:
    """One row of weights per user."""

    user_ids: tuple[str, ...]
    """the M users, in order of first appearance in their comparisons"""
    weights: torch.Tensor
    """float32 [M, K]"""
    covariance: torch.Tensor | None = None
    """float32 [M, K, K]: the posterior covariance (Laplace approximation); None if the recipe computes no covariance"""
    comparisons: ProjectedComparisons | None = None
    """the projected comparisons that the weights were fitted to, to which more can be added later; None if they were
    not kept"""

    @classmethod
    def of(cls, model: ModelParameters) -> UserWeights:
        """Return the weights of all users of a model."""
        return cls(model.user_ids, model.weights, model.covariance, model.comparisons)

    @classmethod
    def none(cls, model: ModelParameters) -> UserWeights:
        """Return an empty set of users, with a covariance [0, K, K] if the model's users have covariances."""
        return cls((), model.weights[:0], None if model.covariance is None else model.covariance[:0])

    def __repr__(self) -> str:
        """Return only sizes: user ids and weights are personal data and must not get into logs."""
        return f"{type(self).__name__}(users={len(self)}, rank={self.weights.shape[1]})"

    def __len__(self) -> int:
        """Return the number of users."""
        return len(self.user_ids)

    def __getitem__(self, user_id: str) -> torch.Tensor:
        """Return one user's weights [K]. Raises `UnknownUserError` if the user is not in this set."""
        return self.weights[self._row_of(as_id(user_id))]

    def __contains__(self, user_id: object) -> bool:
        """Return whether the user is in this set; False for a value that is no id."""
        try:
            return as_id(user_id) in self._row
        except DataError:
            return False

    @cached_property
    def _row(self) -> dict[str, int]:
        return {user: i for i, user in enumerate(self.user_ids)}

    def _row_of(self, user_id: str) -> int:
        try:
            return self._row[user_id]
        except KeyError:
            raise UnknownUserError(
                f"there are no weights of user {user_id!r}",
                "adapt the model to some of the user's comparisons first",
                argument="user_id",
            ) from None

    def select(self, user_ids: Collection[str]) -> UserWeights:
        """Return the given users, in the given order. Raises `UnknownUserError` if one is not in this set."""
        return self._take(torch.tensor([self._row_of(user) for user in as_ids(user_ids)], dtype=torch.int64))

    def forget(self, user_ids: Collection[str], *, missing_ok: bool = False) -> UserWeights:
        """Return all users except those in `user_ids`.

        Raises `UnknownUserError` if one of them is not in this set, unless `missing_ok` is True.
        """
        wanted = as_ids(user_ids)
        if not missing_ok:
            check_known(wanted, self._row, "this set of users")
        gone = set(wanted)
        kept = [i for i, user in enumerate(self.user_ids) if user not in gone]
        return self._take(torch.tensor(kept, dtype=torch.int64))

    def _take(self, rows: torch.Tensor) -> UserWeights:
        return UserWeights(
            tuple(self.user_ids[i] for i in rows.tolist()),
            self.weights[rows],
            None if self.covariance is None else self.covariance[rows],
            None if self.comparisons is None else self.comparisons.take(rows),
        )

    def merge(self, users: UserWeights) -> UserWeights:
        """Return the users of both sets; a user in both keeps the row in `self` and gets the weights in `users`.

        Raises
        ------
        ModelError
            If the sets differ in the number of weights per user, so that they belong to different models.
        """
        if users.weights.shape[1] != self.weights.shape[1]:
            raise ModelError(
                f"the added users have {users.weights.shape[1]} weights each, the users here {self.weights.shape[1]}",
                "give weights that `adapt` computed for the same model",
                argument="users",
            )
        # Without this, an empty set without covariance would remove the covariance of the other set.
        if not (len(self) and len(users)):
            return users if len(users) else self
        row = self._row
        again = [i for i, user in enumerate(users.user_ids) if user in row]
        new = [i for i, user in enumerate(users.user_ids) if user not in row]
        # For each merged user, the row in the concatenation of `self` and `users`.
        source = torch.arange(len(self) + len(new))
        source[[row[users.user_ids[i]] for i in again]] = torch.tensor(again, dtype=torch.int64) + len(self)
        source[len(self) :] = torch.tensor(new, dtype=torch.int64) + len(self)

        covariance = None
        if self.covariance is not None and users.covariance is not None:
            covariance = torch.cat([self.covariance, users.covariance])[source]
        comparisons = None
        if self.comparisons is not None or users.comparisons is not None:
            empty = ProjectedComparisons.empty(self.weights.shape[1])
            mine, theirs = self.comparisons or empty, users.comparisons or empty
            comparisons = mine.join(replace(theirs, user=theirs.user + len(self))).take(source)
        ids = self.user_ids + tuple(users.user_ids[i] for i in new)
        return UserWeights(ids, torch.cat([self.weights, users.weights])[source], covariance, comparisons)

    def update(self, comparisons: EmbeddedPreferences, model: ModelParameters) -> UserWeights:
        """Return all users, with the weights of users who have new comparisons fitted again.

        New users start from the model's prior. For a user in `self` there are two cases:

        - If the earlier comparisons were kept, the weights are fitted to all comparisons of the user together.
        - Otherwise the earlier posterior, a Gaussian, replaces the prior: the result is close to that fit.

        The time grows with the number of users in `self`. If there are many, `select` those with new comparisons first.

        Parameters
        ----------
        comparisons
            Only the new comparisons, embedded by the encoder that the model was trained on.
        model
            The reward model that the weights belong to: its basis, prior and temperature.

        Raises
        ------
        DataError
            If the comparisons and the model's training data were embedded by different encoders.
        ModelError
            If a user has neither kept comparisons nor a Gaussian posterior, for example with recipe "paper".
        """
        check_embeddings(model, comparisons)
        user_ids, projected = ProjectedComparisons.of(comparisons, model.basis)
        return self.add(user_ids, projected, model.prior, model.temperature)

    def add(
        self, user_ids: Sequence[str], new: ProjectedComparisons, prior: WeightPrior, temperature: float
    ) -> UserWeights:
        """Do the same as `update` with comparisons that are already projected on the model's basis.

        `new.user` contains indices into `user_ids`; `prior` and `temperature` are the model's.
        """
        user_ids = as_ids(user_ids)
        before = self.select([user for user in user_ids if user in self._row])
        kept = before.comparisons or ProjectedComparisons.empty(self.weights.shape[1])
        row = {user: i for i, user in enumerate(before.user_ids)}
        # Indices of the earlier users with kept comparisons; None is what `row.get` returns for a new user.
        refittable = {None, *kept.user.tolist()}
        exact = [i for i, user in enumerate(user_ids) if row.get(user) in refittable]
        result = self.select([])
        if exact:
            # -1 for new users: `take` then returns no earlier comparisons.
            old = torch.tensor([row.get(user_ids[i], -1) for i in exact])
            together = kept.take(old).join(new.take(torch.tensor(exact)))
            result = _fit([user_ids[i] for i in exact], together, prior, temperature)
        for i in sorted(set(range(len(user_ids))) - set(exact)):
            approximate = _fit_from_posterior(before, user_ids[i], new.take(torch.tensor([i])), prior, temperature)
            result = approximate if not len(result) else result.merge(approximate)
        return self.merge(result)


def _fit_from_posterior(
    users: UserWeights, user_id: str, new: ProjectedComparisons, prior: WeightPrior, temperature: float
) -> UserWeights:
    """Fit one user's weights to new comparisons, with the earlier posterior as the prior."""
    known = users.select([user_id])
    if known.covariance is None or prior.weight_space != "free":
        raise ModelError(
            f"the weights of user {user_id!r} have neither kept comparisons nor a Gaussian posterior",
            "adapt the model to all comparisons of the user with the default recipe",
            argument="user_ids",
        )
    before = WeightPrior(known.weights[0].double(), known.covariance[0].double())
    return replace(_fit([user_id], new, before, temperature), comparisons=None)


def _fit(
    user_ids: Sequence[str], comparisons: ProjectedComparisons, prior: WeightPrior, temperature: float
) -> UserWeights:
    posterior = solve(comparisons.projected, comparisons.user, comparisons.count, len(user_ids), prior, temperature)
    return UserWeights(tuple(user_ids), posterior.weights.float(), posterior.covariance.float(), comparisons)
