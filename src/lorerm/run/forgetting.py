"""Forgetting users: every trace of them leaves the files of a run, but for their share in what was fitted to everybody.

That share is in the basis, the prior and the figures of other users. It goes with the next training: delete `models/`
and run `lorerm train` again. The files that the run was made from are not touched.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lorerm.atomic import atomic_path
from lorerm.errors import RunError, UnknownUserError
from lorerm.run.lock import locked
from lorerm.run.models import ADAPTED, MODELS, UNSEEN
from lorerm.run.sources import PREFERENCES
from lorerm.run.steps import REPORT

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from lorerm.run.folder import RunFolder


@dataclass(frozen=True)
class Forgotten:
    """What left the run."""

    n_users: int
    """users of whom there was a trace"""
    n_answers: int
    """comparisons of theirs"""
    n_responses: int
    """embeddings that only their comparisons were about"""


def forget(run: RunFolder, user_ids: Collection[str]) -> Forgotten:
    """Remove users from every file of a run; the report goes too, since it counts them, and can be made again.

    Each file is exchanged whole. After an interruption the same call goes on.

    Raises
    ------
    UnknownUserError
        If there is no trace of one of them.
    RunError
        If nobody would be left who took part in training.
    """
    from lorerm.model.files import USERS

    gone = set(user_ids)
    with locked(run.path):
        models = sorted((run.path / MODELS).rglob("rank-*"))
        found = _users_of_tables(run.path)
        for folder in models:
            for name in (USERS, UNSEEN, ADAPTED):
                found |= _users_of_weights(folder / name)
        # A report that is gone already is the mark of an interrupted call.
        if missing := sorted(gone - found):
            raise UnknownUserError(f"{run.path} holds nothing of user {missing[0]!r}", "check the id")
        for folder in models:
            left = _users_of_weights(folder / USERS)
            if left and left <= gone:
                raise RunError(
                    f"nobody who took part in training would be left in {run.path}", "delete the run folder instead"
                )
        run.drop("report")
        shutil.rmtree(run.path / REPORT, ignore_errors=True)
        for folder in models:
            for name in (USERS, UNSEEN, ADAPTED):
                _forget_weights(folder / name, gone)
        n_answers = _forget_rows(run.path / "comparisons.parquet", gone)
        n_answers = _forget_rows(run.path / PREFERENCES, gone) or n_answers
        n_responses = _blank_unused(run.path)
        run.redact(gone)
    return Forgotten(len(gone), n_answers, n_responses)


def _users_of_weights(path: Path) -> set[str]:
    from lorerm.model.files import load_users

    return set(load_users(path).user_ids) if path.exists() else set()


def _users_of_tables(run: Path) -> set[str]:
    import pyarrow.parquet as pq

    paths = [path for path in (run / PREFERENCES, run / "comparisons.parquet") if path.exists()]
    columns = [pq.read_table(path, columns=["user_id"], partitioning=None)["user_id"] for path in paths]
    return {user for column in columns for user in column.unique().to_pylist()}


def _forget_weights(path: Path, gone: set[str]) -> None:
    """Rewrite a file of users' weights without some of them; the training users' losses go with them."""
    from lorerm.model.files import load_losses, load_users, save_users

    if not path.exists():
        return
    users, losses = load_users(path), load_losses(path)
    kept = [i for i, user in enumerate(users.user_ids) if user not in gone]
    if len(kept) < len(users):
        save_users(users.forget(gone), path, None if losses is None else losses[kept])


def _forget_rows(path: Path, gone: set[str]) -> int:
    """Rewrite a table without the rows of some users; return how many there were."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    if not path.exists():
        return 0
    table = pq.read_table(path, partitioning=None)
    theirs = pc.is_in(table["user_id"], value_set=pa.array(sorted(gone), pa.string()))
    kept = table.filter(pc.invert(theirs)).combine_chunks()
    if len(kept) < len(table):
        with atomic_path(path) as temporary:
            pq.write_table(kept, temporary, compression="zstd")
    return len(table) - len(kept)


def _blank_unused(run: Path) -> int:
    """Set to 0 the embeddings that no comparison is about any more; return how many. The rows keep their numbers."""
    import pyarrow.parquet as pq
    from safetensors import safe_open
    from safetensors.torch import save

    if not (run / "comparisons.parquet").exists():
        return 0
    table = pq.read_table(run / "comparisons.parquet", columns=["chosen", "rejected"], partitioning=None)
    used: np.ndarray[Any, Any] = np.concatenate([table["chosen"].to_numpy(), table["rejected"].to_numpy()])
    start = blanked = 0
    for path in sorted((run / "embeddings").glob("embeddings-*.safetensors")):
        with safe_open(path, framework="pt") as shard:
            responses, metadata = shard.get_tensor("responses"), shard.metadata()
        unused = np.setdiff1d(np.arange(len(responses)), used - start)
        unused = unused[responses[unused].any(dim=1).numpy()]
        start += len(responses)
        if not unused.size:
            continue
        blanked += len(unused)
        responses[unused] = 0
        with atomic_path(path) as temporary:
            temporary.write_bytes(save({"responses": responses}, metadata))
    return blanked
