"""Adapt users on a Ray cluster: the worker that embeds a user's feedback also fits the user's weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lorerm.data.readers.files import data_files
from lorerm.embedding.batch_encoder import EncodingSummary
from lorerm.embedding.encoder import Encoder, EncoderIdentity, Progress
from lorerm.errors import ConfigError
from lorerm.ray.cluster import Cluster, connected
from lorerm.ray.partitions import Partition, partition_users
from lorerm.ray.tasks import run_tasks

if TYPE_CHECKING:
    from lorerm.data.preferences import ReadingSummary
    from lorerm.model.reward_model import LowRankRewardModel
    from lorerm.model.user_weights import UserWeights
    from lorerm.training.config import AdaptationConfig

# With several partitions for each worker, all workers end at about the same time.
_PARTITIONS_PER_WORKER = 4


@dataclass(frozen=True)
class AdaptedUsers:
    """Weights of adapted users, and a summary of the feedback they were fitted to."""

    users: UserWeights
    n_pairs: int
    """number of their comparisons"""
    warnings: tuple[str, ...]
    """sentences to show to the user of the command"""


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
    """Fit the weights of all users in Parquet files, as `embed` and `adapt` do, on the workers of a cluster.

    The users are divided into partitions. One worker embeds and fits all feedback of a partition, so that a
    conversation that several users judged is embedded once per partition.

    Parameters
    ----------
    model
        As for `adapt`.
    paths
        Parquet files, or folders of them, which may be partitioned (`user_id=u7/...`). The workers read them by the
        same paths.
    make_encoder
        Builds the encoder that the model was trained on; every worker calls it once.
    config
        As for `adapt`, with the default recipe.
    cluster
        Where to run; None is `Cluster()`.
    user_column
        The column with the users' ids.
    gpus
        Whether the encoder runs on GPUs where there are some.
    progress
        Called with (partitions done, partitions in all).

    Returns
    -------
    AdaptedUsers
        In the order in which the users first appear in the files.

    Raises
    ------
    ConfigError
        If the recipe is the paper's, whose random start depends on all users together.
    DataError, ModelError
        As `Preferences.from_files`, `embed` and `adapt` raise them.
    RunError
        If there is no cluster, or it fails.
    """
    if config.recipe != "default":
        raise ConfigError(
            f"recipe {config.recipe!r} draws the start of all users at once, and cannot be divided among workers",
            "use --engine local",
            argument="recipe",
        )
    files = [file for path in paths for file in data_files(Path(path).absolute())]
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
    return _merge(partitions, [fitted[index] for index in sorted(fitted)], user_ids, model.encoder)


@dataclass(frozen=True)
class _Fitted:
    """The result of a partition."""

    users: UserWeights | None
    """None where the partition has nothing but ties"""
    n_pairs: int
    summary: ReadingSummary
    """of all files of the partition"""
    n_conversations: int
    encoding: EncodingSummary


def _fit(
    partition: Partition, user_column: str, encoder: Encoder, model: LowRankRewardModel, config: AdaptationConfig
) -> _Fitted:
    from lorerm.data.preferences import Preferences
    from lorerm.embedding.embed import embed_with_summary
    from lorerm.training.adaptation import adapt

    comparisons = Preferences.from_files(*partition.files, user_column=user_column, may_be_empty=True)
    if partition.users is not None:
        comparisons = comparisons.select(np.flatnonzero([user in partition.users for user in comparisons.user_ids]))
    if not len(comparisons):
        return _Fitted(None, 0, comparisons.summary, 0, EncodingSummary())
    data, encoding = embed_with_summary(comparisons, encoder)
    return _Fitted(adapt(model, data, config), len(comparisons), comparisons.summary, len(data.responses), encoding)


def _without_users(model: LowRankRewardModel) -> LowRankRewardModel:
    """Remove the users, which no worker needs; clone the slices, which would be pickled with the whole tensor."""
    covariance = None if model.covariance is None else model.covariance[:0].clone()
    return replace(model, weights=model.weights[:0].clone(), user_ids=(), covariance=covariance, validation_loss=None)


def _merge(
    partitions: Sequence[Partition], fitted: Sequence[_Fitted], user_ids: Sequence[str], encoder: EncoderIdentity | None
) -> AdaptedUsers:
    """Merge the users of all partitions, in the order of `user_ids`."""
    read = [part.summary for partition, part in zip(partitions, fitted, strict=True) if partition.first]
    counts = {name: sum(getattr(part, name) for part in read) for name in ("n_rows", "n_pairs", "n_ties")}
    summary = replace(read[0], **counts)
    summary.check()
    found = reduce(lambda users, more: users.merge(more), (part.users for part in fitted if part.users is not None))
    known = set(found.user_ids)  # users who have nothing but ties are not adapted
    users = found.select([user for user in user_ids if user in known])
    warnings = summary.warnings()
    if encoder is not None:
        encoding = sum((part.encoding for part in fitted), EncodingSummary())
        warnings = [*warnings, *encoding.warnings(sum(part.n_conversations for part in fitted), encoder)]
    return AdaptedUsers(users, sum(part.n_pairs for part in fitted), tuple(warnings))
