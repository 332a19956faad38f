"""Users adapted on a Ray cluster: whoever embeds a user's answers also fits their weights."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lorerm.data.readers.folders import data_files
from lorerm.embedding.batch_encoder import EncodingSummary
from lorerm.errors import ConfigError
from lorerm.ray.cluster import Cluster, connected, import_ray
from lorerm.ray.pool import run_pieces
from lorerm.ray.shares import Share, share_out

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lorerm.data.preferences import ReadingSummary
    from lorerm.embedding.encoder import Encoder, EncoderIdentity, Progress
    from lorerm.model.reward_model import LowRankRewardModel
    from lorerm.model.user_weights import UserWeights
    from lorerm.training.config import AdaptationConfig

# Shares for each worker, at least, so that they end at about the same time.
_SHARES = 4


@dataclass(frozen=True)
class AdaptedUsers:
    """Users adapted, and from how much."""

    users: UserWeights
    n_pairs: int
    """how many answers of theirs there were"""
    warnings: tuple[str, ...]
    """what is to be said of the answers"""


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
    """Fit the weights of all users in Parquet files, as `embed` and `adapt` do, on many workers.

    Every user's answers are embedded and fitted by one worker. A conversation that stands in the answers of several
    users is embedded once for each share of users that it is in.

    Parameters
    ----------
    model
        As for `adapt`.
    paths
        Parquet files or folders of them, also partitioned ones (`user_id=u7/...`); the workers read them by the same
        paths.
    make_encoder
        Makes the encoder that the model was trained on; every worker calls it once.
    config
        As for `adapt`: the default recipe.
    cluster
        Where to run; None is `Cluster()`.
    user_column
        The column of the users.
    gpus
        Whether the encoder runs on GPUs where there are some.
    progress
        Called with (shares done, shares in all).

    Returns
    -------
    AdaptedUsers
        In the order in which they first appear in the files.

    Raises
    ------
    ConfigError
        If the recipe is the paper's: its random start depends on all users together.
    DataError, ModelError
        As `Preferences.from_files`, `embed` and `adapt` raise them.
    RunError
        If there is no cluster, or it fails.
    """
    if config.recipe != "default":
        raise ConfigError(
            f"the {config.recipe} recipe draws the start of all users at once, and cannot be divided among workers",
            "use --engine local",
        )
    files = [file for path in paths for file in data_files(Path(path).absolute())]
    bare = _without_users(model)

    def make_work() -> Callable[[Share], _Fitted]:
        encoder = make_encoder()
        return lambda share: _fit(share, user_column, encoder, bare, config)

    with connected(cluster or Cluster(), gpus=gpus) as workers:
        shares, user_ids = share_out(files, user_column, _SHARES * workers.number)
        fitted: dict[int, _Fitted] = {}
        with closing(run_pieces(import_ray(), make_work, shares, workers)) as outcomes:
            for outcome in outcomes:
                fitted[outcome.number] = outcome.get()
                if progress is not None:
                    progress(len(fitted), len(shares))
    return _merge(shares, [fitted[number] for number in range(len(shares))], user_ids, model.encoder)


@dataclass(frozen=True)
class _Fitted:
    """The users of a share."""

    users: UserWeights | None
    """None where all their judgements are ties"""
    n_pairs: int
    summary: ReadingSummary
    """of all files of the share"""
    n_conversations: int
    remarks: EncodingSummary


def _fit(
    share: Share, user_column: str, encoder: Encoder, model: LowRankRewardModel, config: AdaptationConfig
) -> _Fitted:
    """Do one share, on a worker."""
    from lorerm.data.preferences import Preferences
    from lorerm.embedding.embed import embed_and_remark
    from lorerm.training.adaptation import adapt

    answers = Preferences.from_files(*share.files, user_column=user_column, may_be_empty=True)
    if share.users is not None:
        answers = answers.select(np.flatnonzero([user in share.users for user in answers.user_ids]))
    if not len(answers):
        return _Fitted(None, 0, answers.summary, 0, EncodingSummary())
    data, remarks = embed_and_remark(answers, encoder)
    return _Fitted(adapt(model, data, config), len(answers), answers.summary, len(data.responses), remarks)


def _without_users(model: LowRankRewardModel) -> LowRankRewardModel:
    """Leave out the users, whom nobody needs on a worker; copies, as slices are pickled with all they are slices of."""
    covariance = None if model.covariance is None else model.covariance[:0].clone()
    return replace(model, weights=model.weights[:0].clone(), user_ids=(), covariance=covariance, validation_loss=None)


def _merge(
    shares: Sequence[Share], fitted: Sequence[_Fitted], user_ids: Sequence[str], encoder: EncoderIdentity | None
) -> AdaptedUsers:
    """Put the users of all shares together, in the order of `user_ids`."""
    read = [some.summary for share, some in zip(shares, fitted, strict=True) if share.first]
    counts = {name: sum(getattr(some, name) for some in read) for name in ("n_rows", "n_pairs", "n_ties")}
    summary = replace(read[0], **counts)
    summary.check()
    found = reduce(lambda users, more: users.merge(more), (some.users for some in fitted if some.users is not None))
    known = set(found.user_ids)  # whoever has ties alone is adapted by nobody
    users = found.select([user for user in user_ids if user in known])
    said = []
    if encoder is not None:
        remarks = sum((some.remarks for some in fitted), EncodingSummary())
        said = remarks.warnings(sum(some.n_conversations for some in fitted), encoder)
    return AdaptedUsers(users, sum(some.n_pairs for some in fitted), (*summary.warnings(), *said))
