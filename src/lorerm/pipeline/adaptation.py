"""Add comparisons of users to a run. A user's earlier comparisons stay, and no comparison counts twice.

The file of adapted users (`layout.ADAPTED`) holds, for every user in it, all comparisons that the user's weights were
fitted to: as projections on the basis (K numbers each), and as digests (hashes). A user of the run's own input enters
the file with the comparisons of the splits `train_seen` and `train_unseen`, to which the weights were fitted before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from lorerm.data.digests import digest_by_user
from lorerm.data.stored import load_comparisons, load_preferences
from lorerm.embedding.embedded_preferences import EmbeddedPreferences
from lorerm.errors import RunError
from lorerm.model.io import Digests, load_digests, save_users
from lorerm.model.projected import ProjectedComparisons
from lorerm.model.user_weights import UserWeights
from lorerm.pipeline.folder import RunFolder, locked
from lorerm.pipeline.layout import ADAPTED
from lorerm.pipeline.models import adaptation_of, chosen_alpha, load_stored_users, load_trained, model_folder
from lorerm.training.adaptation import adapt_and_keep, project, refit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lorerm.arrays import Bools, Ints
    from lorerm.data.preferences import Preferences
    from lorerm.model.reward_model import LowRankRewardModel
    from lorerm.training.config import AdaptationConfig

# The splits with the comparisons to which the weights of the users in the run's input were fitted.
_FITTED_SPLITS = ("train_seen", "train_unseen")


@dataclass(frozen=True, eq=False)
class FittedUsers:
    """Users fitted to new comparisons alone, and the digests of these comparisons."""

    users: UserWeights
    """the users, with their projected comparisons"""
    digests: Ints
    """int64 [n]: the digest of each projected comparison, in the same order"""


@dataclass(frozen=True)
class Added:
    """Numbers of users and comparisons that `add_users` changed in a run."""

    n_new: int
    """number of users without earlier comparisons"""
    n_updated: int
    """number of known users whose new comparisons were added to their earlier comparisons"""
    n_replaced: int
    """number of known users whose earlier comparisons were replaced"""
    n_comparisons: int
    """number of comparisons added"""
    n_repeated: int
    """number of comparisons left out because they were counted before, or occur several times in the input"""
    n_dropped: int
    """number of earlier comparisons that were replaced"""


def fit_users(
    model: LowRankRewardModel, preferences: Preferences, data: EmbeddedPreferences, config: AdaptationConfig
) -> FittedUsers:
    """Fit users to their comparisons, whose texts are `preferences` and whose embeddings are `data`."""
    return FittedUsers(adapt_and_keep(model, data, config), digest_by_user(preferences))


def add_users(run: RunFolder, found: FittedUsers, rank: int, *, start_over: bool = False) -> Added:
    """Add users' comparisons to their earlier comparisons, and store their weights beside the model of a rank.

    Comparisons that were counted before, in training or in an earlier call, are recognised by their content and left
    out. If `start_over` is True, the new comparisons replace all earlier ones of their users instead.

    Raises
    ------
    RunError
        If the weights of a known user were stored without comparisons, so that no comparison can be added.
    """
    path = model_folder(run, rank, chosen_alpha(run)) / ADAPTED
    with locked(run.path):
        run.check_not_half_forgotten()
        run.convert_old_layout()
        model, config = load_trained(run, rank, chosen_alpha(run)), adaptation_of(run)
        stored = _Known.of(path, model)
        earlier = _earlier(run, model, stored, found.users.user_ids)
        if not start_over:
            _check_can_add(found.users.user_ids, earlier)
        added, changed = _combine(model, config, found, earlier, start_over=start_over)
        if len(changed.users):
            stored.with_changed(changed).save(path)
    return added


@dataclass(frozen=True, eq=False)
class _Known:
    """Users with all comparisons to which their weights were fitted, as projections and as digests."""

    users: UserWeights
    digests: Digests

    @classmethod
    def of(cls, path: Path, model: LowRankRewardModel) -> _Known:
        """Read the file of adapted users. If it does not exist, return no users."""
        if not path.exists():
            none = torch.zeros(0, dtype=torch.int64)
            return cls(UserWeights.none(model), Digests(none, none))
        return cls(load_stored_users(path), load_digests(path))

    def with_changed(self, changed: _Known) -> _Known:
        """Return these users together with the `changed` users. For a user in both, the data in `changed` are used."""
        users = self.users.merge(changed.users)
        row = {user: index for index, user in enumerate(users.user_ids)}
        again = torch.tensor([user in changed.users for user in self.users.user_ids], dtype=torch.bool)
        stays = ~again[self.digests.user]
        # A user who is in `self` keeps the index in `self`.
        index = torch.tensor([row[user] for user in changed.users.user_ids], dtype=torch.int64)
        value = torch.cat([self.digests.value[stays], changed.digests.value])
        return _Known(users, Digests(value, torch.cat([self.digests.user[stays], index[changed.digests.user]])))

    def save(self, path: Path) -> None:
        save_users(self.users, path, digests=self.digests)


class _Earlier(NamedTuple):
    """Earlier comparisons of the users that are being adapted. A user is given by the index among these users."""

    comparisons: ProjectedComparisons
    digests: Digests
    n_each: Ints
    """int64 [M]: the number of earlier comparisons of each user"""
    stored: Bools
    """[M]: whether each user is in the file of adapted users"""


def _earlier(run: RunFolder, model: LowRankRewardModel, stored: _Known, user_ids: tuple[str, ...]) -> _Earlier:
    """Return users' earlier comparisons from the file of adapted users or, for other users, from the run's input."""
    row = {user: index for index, user in enumerate(stored.users.user_ids)}
    rows = torch.tensor([row.get(user, -1) for user in user_ids], dtype=torch.int64)
    kept = _comparisons(stored.users).take(rows)
    position = torch.full((len(row) + 1,), -1)  # the last entry is for users who are not stored
    position[rows] = torch.arange(len(user_ids))
    position[-1] = -1
    of_user = position[stored.digests.user]
    own, digests = _from_input(run, model, user_ids, [user for user in user_ids if user not in row])
    together = kept.join(own)
    return _Earlier(
        together,
        Digests(
            torch.cat([stored.digests.value[of_user >= 0], digests.value]),
            torch.cat([of_user[of_user >= 0], digests.user]),
        ),
        np.bincount(together.user.numpy(), minlength=len(user_ids)),
        (rows >= 0).numpy(),
    )


def _from_input(
    run: RunFolder, model: LowRankRewardModel, user_ids: tuple[str, ...], wanted: Sequence[str]
) -> tuple[ProjectedComparisons, Digests]:
    """Return the comparisons of the run's input to which the weights of the `wanted` users were fitted."""
    table = load_comparisons(run.path)
    fitted = np.isin(np.array(table.splits, dtype=object), _FITTED_SPLITS)
    among = set(wanted)
    rows = np.flatnonzero(fitted & np.array([user in among for user in table.user_ids], dtype=bool))
    if not rows.size:
        none = torch.zeros(0, dtype=torch.int64)
        return ProjectedComparisons.empty(model.basis.shape[1]), Digests(none, none)
    names, projected = project(model, EmbeddedPreferences.load(run.path).select(rows))
    digests = torch.from_numpy(digest_by_user(load_preferences(run.path).select(rows)))
    row = {user: index for index, user in enumerate(names)}
    position = {user: index for index, user in enumerate(user_ids)}
    in_order = projected.take(torch.tensor([row.get(user, -1) for user in user_ids], dtype=torch.int64))
    of_user = torch.tensor([position[user] for user in names], dtype=torch.int64)[projected.user]
    return in_order, Digests(digests, of_user)


def _check_can_add(user_ids: Sequence[str], earlier: _Earlier) -> None:
    """Raise `RunError` if the weights of a user are known, but not the comparisons to which they were fitted."""
    lost = np.flatnonzero(earlier.stored & (earlier.n_each == 0))
    if lost.size:
        raise RunError(
            f"the weights of user {user_ids[lost[0]]!r} were stored without comparisons: none can be added",
            "repeat the command with --replace and with all comparisons of the user",
        )


def _combine(
    model: LowRankRewardModel, config: AdaptationConfig, found: FittedUsers, earlier: _Earlier, *, start_over: bool
) -> tuple[Added, _Known]:
    """Add new comparisons to the earlier ones. Return the changed numbers, and the users with changed weights."""
    new, n_users = _comparisons(found.users), len(found.users)
    user, value = new.user.numpy(), found.digests
    fresh = np.zeros(len(value), dtype=bool)
    fresh[np.unique(value, return_index=True)[1]] = True  # of equal comparisons, only the first counts
    if not start_over:
        fresh &= ~np.isin(value, earlier.digests.value.numpy())
    n_given, n_fresh = np.bincount(user, minlength=n_users), np.bincount(user[fresh], minlength=n_users)
    changed = n_fresh > 0
    again = changed & ((n_fresh < n_given) | ((earlier.n_each > 0) & (not start_over)))
    together = ProjectedComparisons(new.projected[fresh], new.count[fresh], new.user[fresh])
    digests = Digests(torch.from_numpy(value[fresh]), together.user)
    if not start_over:
        together = earlier.comparisons.join(together)
        digests = Digests(*(torch.cat(parts) for parts in zip(earlier.digests, digests, strict=True)))
    ids = np.array(found.users.user_ids, dtype=object)
    users = found.users.select(ids[changed & ~again])
    if again.any():
        refitted = refit(model, ids[again].tolist(), together.take(torch.from_numpy(np.flatnonzero(again))), config)
        users = users.merge(refitted).select(ids[changed])
    position = torch.from_numpy(np.where(changed, np.cumsum(changed) - 1, -1))
    kept = position[digests.user] >= 0
    known = changed & (earlier.stored | (earlier.n_each > 0))
    added = Added(
        n_new=int((changed & ~known).sum()),
        n_updated=0 if start_over else int(known.sum()),
        n_replaced=int(known.sum()) if start_over else 0,
        n_comparisons=int(fresh.sum()),
        n_repeated=int((~fresh).sum()),
        n_dropped=int(earlier.n_each[known].sum()) if start_over else 0,
    )
    return added, _Known(users, Digests(digests.value[kept], position[digests.user[kept]]))


def _comparisons(users: UserWeights) -> ProjectedComparisons:
    return users.comparisons or ProjectedComparisons.empty(users.weights.shape[1])
