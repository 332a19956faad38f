"""Adapt users on a Ray cluster: the worker that embeds a user's feedback also fits the user's weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lorerm.data.account import ReadingSummary
from lorerm.data.ids import look_alike_warnings
from lorerm.data.readers.files import find_files
from lorerm.embedding.batch_encoder import EncodingSummary
from lorerm.embedding.checks import same_warnings
from lorerm.embedding.encoder import Encoder, EncoderIdentity, Progress
from lorerm.errors import ConfigError
from lorerm.ray.cluster import Cluster, connected
from lorerm.ray.partitions import Partition, partition_users
from lorerm.ray.tasks import run_tasks

if TYPE_CHECKING:
    from lorerm.arrays import Ints
    from lorerm.model.reward_model import LowRankRewardModel
    from lorerm.model.user_weights import UserWeights
    from lorerm.training.config import AdaptationConfig

# With several partitions per worker, all workers finish at about the same time.
_PARTITIONS_PER_WORKER = 4


@dataclass(frozen=True)
class AdaptedUsers:
    """Fitted weights of users, with the number of their comparisons and warnings about their feedback."""

    users: UserWeights
    digests: Ints
    """int64 [n]: the digest of each comparison (`lorerm.data.digests`), grouped by user like `users.comparisons`"""
    n_pairs: int
    """number of comparisons to which the weights were fitted"""
    warnings: tuple[str, ...]
    """warnings about the feedback and its embedding, one sentence each"""


def adapt_on_cluster(
    model: LowRankRewardModel,
    paths: Sequence[str | Path],
    make_encoder: Callable[[], Encoder],
    config: AdaptationConfig,
    cluster: Cluster | None = None,
    *,
    user_column: str = "user_id",
    gpus: bool = True,
    progress: Progress | None = None,
) -> AdaptedUsers:
    """Fit the weights of all users in Parquet files on the workers of a Ray cluster, with `embed` and `adapt`.

    The users are divided into partitions. One worker embeds all feedback of a partition and fits its users. If several
    users of a partition compared the same conversation, it is embedded only once.

    Parameters
    ----------
    model
        The model, as in `adapt`.
    paths
        Parquet files, or folders of Parquet files. The folders may be partitioned (`user_id=u7/...`). The workers must
        have the files under the same paths.
    make_encoder
        Builds the encoder with which the model was trained. It is called once on every worker.
    config
        The settings, as in `adapt`; the recipe must be "default".
    cluster
        The cluster to run on; None means `Cluster()`.
    user_column
        The column with the users' ids.
    gpus
        Whether the encoder runs on GPUs if the cluster has any.
    progress
        Called with (number of partitions done, number of all partitions).

    Returns
    -------
    AdaptedUsers
        The users, in the order of their first appearance in the files.

    Raises
    ------
    ConfigError
        If the recipe is not "default": the other recipes draw one random start for all users together.
    DataError, ModelError
        If `Preferences.from_files`, `embed` or `adapt` raises them.
    RunError
        If the cluster cannot be reached, or fails.
    """
    if config.recipe != "default":
        raise ConfigError(
            f"recipe {config.recipe!r} draws one random start for all users, and cannot be divided among workers",
            "use --engine local",
            argument="recipe",
        )
    found = [find_files(Path(path).absolute()) for path in paths]
    files, unread = ([file for one in found for file in one.files], [file for one in found for file in one.unread])
    bare = _without_users(model)

    def set_up() -> Callable[[Partition], _Fitted]:
        encoder = make_encoder()
        return lambda partition: _fit(partition, user_column, encoder, bare, config)

    with connected(cluster or Cluster(), gpus=gpus) as workers:
        partitions, user_ids = partition_users(files, user_column, _PARTITIONS_PER_WORKER * workers.number)
        fitted: dict[int, _Fitted] = {}
        with closing(run_tasks(set_up, partitions, workers)) as outcomes:
            for index, get in outcomes:
                fitted[index] = get()
                if progress is not None:
                    progress(len(fitted), len(partitions))
    return _merge(partitions, [fitted[index] for index in sorted(fitted)], user_ids, model.encoder, unread)


@dataclass(frozen=True)
class _Fitted:
    """The result for one partition."""

    users: UserWeights | None
    """None if the partition has no comparisons, only ties"""
    digests: Ints
    """int64 [n]: the digests of the comparisons, grouped by user"""
    n_pairs: int
    summary: ReadingSummary
    """counts for all rows in the partition's files, including the rows of users in other partitions"""
    n_conversations: int
    encoding: EncodingSummary
    n_same: int = 0
    """number of comparisons whose two responses have the same embedding"""


def _fit(
    partition: Partition, user_column: str, encoder: Encoder, model: LowRankRewardModel, config: AdaptationConfig
) -> _Fitted:
    from lorerm.data.digests import digest_by_user
    from lorerm.data.preferences import Preferences
    from lorerm.embedding.checks import count_same
    from lorerm.embedding.embed import embed_with_summary
    from lorerm.training.adaptation import adapt

    comparisons = Preferences.from_files(*partition.files, user_column=user_column, may_be_empty=True)
    if partition.users is not None:
        comparisons = comparisons.select(np.flatnonzero([user in partition.users for user in comparisons.user_ids]))
    if not len(comparisons):
        return _Fitted(None, np.zeros(0, dtype=np.int64), 0, comparisons.summary, 0, EncodingSummary())
    data, encoding = embed_with_summary(comparisons, encoder)
    users, digests, n_same = adapt(model, data, config), digest_by_user(comparisons), count_same(data.responses, data)
    return _Fitted(users, digests, len(comparisons), comparisons.summary, len(data.responses), encoding, n_same)


def _without_users(model: LowRankRewardModel) -> LowRankRewardModel:
    """Return the model without its users, which no worker needs."""
    # Without `clone`, the empty slices would be pickled together with the whole tensors.
    covariance = None if model.covariance is None else model.covariance[:0].clone()
    return replace(model, weights=model.weights[:0].clone(), user_ids=(), covariance=covariance, validation_loss=None)


def _merge(
    partitions: Sequence[Partition],
    fitted: Sequence[_Fitted],
    user_ids: Sequence[str],
    encoder: EncoderIdentity | None,
    unread: Sequence[Path],
) -> AdaptedUsers:
    """Merge the results of all partitions, with the users in the order of `user_ids`."""
    # Only the first partition that reads a file counts the file's rows.
    read = [part.summary for partition, part in zip(partitions, fitted, strict=True) if partition.first]
    alike = tuple(look_alike_warnings(user_ids, "user"))
    summary = replace(ReadingSummary.total(read), unread=tuple(map(str, unread)), look_alikes=alike)
    summary.check()
    found = reduce(lambda users, more: users.merge(more), (part.users for part in fitted if part.users is not None))
    known = set(found.user_ids)  # users who have only ties get no weights
    users = found.select([user for user in user_ids if user in known])
    warnings = summary.warnings()
    if encoder is not None:
        encoding = sum((part.encoding for part in fitted), EncodingSummary())
        warnings = [*warnings, *encoding.warnings(sum(part.n_conversations for part in fitted), encoder)]
    n_pairs = sum(part.n_pairs for part in fitted)
    warnings = [*warnings, *same_warnings(sum(part.n_same for part in fitted), n_pairs)]
    return AdaptedUsers(users, _merge_digests(fitted, users), n_pairs, tuple(warnings))


def _merge_digests(fitted: Sequence[_Fitted], users: UserWeights) -> Ints:
    """Return the digests of all partitions, in the order of `users`. Each user is in exactly one partition."""
    of_user: dict[str, Ints] = {}
    for part in fitted:
        if part.users is not None and part.users.comparisons is not None:
            lengths = np.bincount(part.users.comparisons.user.numpy(), minlength=len(part.users))
            parts = np.split(part.digests, np.cumsum(lengths)[:-1])
            of_user.update(zip(part.users.user_ids, parts, strict=True))
    return np.concatenate([of_user[user] for user in users.user_ids])
