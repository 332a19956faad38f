"""Forgetting users: every trace of them leaves the files of a run, but for their share in what was fitted to everybody.

That share is in the basis and the prior. It goes with the next training: delete `models/` and run `lorerm train` again.
What counts everybody (the report, its seeds, the few-shot curve, benchmark results) is removed, to be made again. The
files that the run was made from are not touched, and the run does not read them again.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lorerm.atomic import atomic_path
from lorerm.data.shared import CHOICES, SharedPreferences
from lorerm.embedding.store import COMPARISONS, EMBEDDINGS
from lorerm.errors import ConfigError, RunError, UnknownUserError
from lorerm.evaluation.rewardbench import FOLDER, RESULTS
from lorerm.pipeline.folder import FORGETTING, FORGOT
from lorerm.pipeline.lock import locked
from lorerm.pipeline.models import ADAPTED, MODELS, UNSEEN
from lorerm.pipeline.sources import PREFERENCES
from lorerm.pipeline.steps import REPORT
from lorerm.pipeline.studies import SEEDS, SHOTS

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from lorerm.pipeline.folder import RunFolder

# The steps that count everybody, and where what they wrote is.
_COUNTED_STEPS = ("seeds", "shots", "report")
_COUNTED = (REPORT, SEEDS, SHOTS, *(f"{FOLDER}/{name}" for name in RESULTS))


@dataclass(frozen=True)
class Forgotten:
    """What left the run."""

    n_users: int
    """users of whom there was a trace"""
    n_answers: int
    """comparisons of theirs"""
    n_responses: int
    """embeddings that only their comparisons were about"""


def forget(run: RunFolder, user_ids: Collection[str] = ()) -> Forgotten:
    """Remove users from every file of a run; what counts them goes too, and can be made again.

    Each file is exchanged whole. When this is cut off, every other use of the run is refused, and the next call goes on
    with the same users, named or not.

    Raises
    ------
    UnknownUserError
        If there is no trace of one of them.
    RunError
        If nobody would be left who took part in training.
    ConfigError
        If nobody is named, and no earlier call was cut off.
    """
    from lorerm.model.io import forget_users

    with locked(run.path):
        begun = set(run.manifest().get(FORGETTING, ()))
        gone = begun | set(user_ids)
        if not gone:
            raise ConfigError(f"nobody is named, and no forgetting was cut off in {run.path}", "name users with --user")
        weights = _weights_of(run.path)
        _check(run, weights, gone, begun)
        _begin(run, gone)
        run.sweep()
        for counted in _COUNTED:
            _remove(run.path / counted)
        if not run.is_finished("embed"):
            _remove(run.path / EMBEDDINGS)
            _remove(run.path / COMPARISONS)
        for path in weights:
            forget_users(path, gone)
        n_answers = _forget_rows(run.path / COMPARISONS, gone)
        n_answers = _forget_preferences(run.path, gone) or n_answers
        n_responses = _blank_unused(run.path)
        _end(run, gone)
    return Forgotten(len(gone), n_answers, n_responses)


def _weights_of(run: Path) -> list[Path]:
    """Return all files of users' weights."""
    from lorerm.model.io import USERS

    folders = sorted((run / MODELS).rglob("rank-*"))
    return [path for folder in folders for name in (USERS, UNSEEN, ADAPTED) if (path := folder / name).exists()]


def _check(run: RunFolder, weights: Collection[Path], gone: set[str], begun: set[str]) -> None:
    """Refuse what cannot be forgotten, before anything changes; of those begun with there may be no trace any more."""
    from lorerm.model.io import USERS

    known = {path: _users_of_weights(path) for path in weights}
    found = begun.union(_users_of_tables(run.path), _named(run, gone), *known.values())
    if missing := sorted(gone - found):
        raise UnknownUserError(f"{run.path} holds nothing of user {missing[0]!r}", "check the id")
    if any(path.name == USERS and users and users <= gone for path, users in known.items()):
        raise RunError(f"nobody who took part in training would be left in {run.path}", "delete the run folder instead")


def _begin(run: RunFolder, gone: Collection[str]) -> None:
    """Note who is being forgotten, before anything of theirs changes."""
    manifest = run.manifest()
    for step in _COUNTED_STEPS:
        manifest["steps"].pop(step, None)
    run.write({**manifest, FORGETTING: sorted(gone)})


def _end(run: RunFolder, gone: Collection[str]) -> None:
    """Note the files' sizes as they are now, so that no step is done again; take out the note and what names users."""
    manifest = run.manifest()
    del manifest[FORGETTING]
    for record in manifest["steps"].values():
        if "files" in record:
            record["files"] = run.files(list(record["files"]))
        if "input" in record["arguments"]:
            record[FORGOT] = True
        result = record.get("result") or {}
        if "warnings" in result:
            result["warnings"] = [text for text in result["warnings"] if not any(_names(text, user) for user in gone)]
    run.write(manifest)


def _named(run: RunFolder, user_ids: Collection[str]) -> set[str]:
    """Return those whom a recorded warning names, as it does some of whom no pair is in use."""
    results = [record.get("result") or {} for record in run.manifest()["steps"].values()]
    texts = [text for result in results for text in result.get("warnings", ())]
    return {user for user in user_ids if any(_names(text, user) for text in texts)}


def _names(text: str, user: str) -> bool:
    """Tell whether a warning has a user in its list of users."""
    return re.search(rf"(\(|, ){re.escape(user)}(, |\)| and )", text) is not None


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _users_of_weights(path: Path) -> set[str]:
    from lorerm.model.io import load_users

    return set(load_users(path).user_ids)


def _users_of_tables(run: Path) -> set[str]:
    import pyarrow.parquet as pq

    paths = [path for path in (run / PREFERENCES, run / COMPARISONS) if path.exists()]
    columns = [pq.read_table(path, columns=["user_id"], partitioning=None)["user_id"] for path in paths]
    users = {user for column in columns for user in column.unique().to_pylist()}
    return users | set(SharedPreferences.read(run).names) if (run / CHOICES).exists() else users


def _forget_rows(path: Path, gone: Collection[str]) -> int:
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


def _forget_preferences(run: Path, gone: Collection[str]) -> int:
    """Rewrite what was read without some users; return how many pairs of theirs there were."""
    if not (run / CHOICES).exists():
        return _forget_rows(run / PREFERENCES, gone)
    preferences = SharedPreferences.read(run)
    left = preferences.without_users(gone)
    # The responses first: until the choices are exchanged, they say whose the texts are.
    left.write(run)
    return len(preferences) - len(left)


def _blank_unused(run: Path) -> int:
    """Set to 0 the embeddings that no comparison is about any more; return how many. The rows keep their numbers."""
    import pyarrow.parquet as pq
    from safetensors import safe_open
    from safetensors.torch import save

    if not (run / COMPARISONS).exists():
        return 0
    table = pq.read_table(run / COMPARISONS, columns=["chosen", "rejected"], partitioning=None)
    used: np.ndarray[Any, Any] = np.concatenate([table["chosen"].to_numpy(), table["rejected"].to_numpy()])
    start = blanked = 0
    for path in sorted((run / EMBEDDINGS).glob("embeddings-*.safetensors")):
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
