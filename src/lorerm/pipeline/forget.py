"""Remove users from every file of a run, apart from their share in what was fitted to all users together.

That share is in the basis and the prior. The next training removes it: delete `models/` and run `lorerm train` again.
Files with figures into which every user was counted (the report, its seeds, the few-shot curve, benchmark results) are
removed, and can be made again. The files that the run was made from are not touched, and the run does not read them
again. `pipeline.layout` says what each file holds.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorerm.data.stored import COMPARISONS, RESPONSES, load_comparisons
from lorerm.data.stored import forget_users as forget_comparisons
from lorerm.embedding.store import zero_unused_rows
from lorerm.errors import ConfigError, RunError, UnknownUserError
from lorerm.pipeline.folder import FORGOT, RunFolder, input_step, locked
from lorerm.pipeline.layout import FORGETTING, UserData, find, outputs, run_files


@dataclass(frozen=True)
class Forgotten:
    """What `forget` removed from a run."""

    n_users: int
    """users with data in the run"""
    n_comparisons: int
    """their comparisons"""
    n_responses: int
    """embeddings of responses that only they compared"""


def forget(run: RunFolder, user_ids: Collection[str] = ()) -> Forgotten:
    """Remove users from every file of a run.

    Each file is replaced as a whole. After an interruption, every other use of the run is refused, and the next call
    continues with the same users, whether they are named again or not.
    """
    from lorerm.model.io import forget_users

    with locked(run.path):
        begun = set(run.manifest().get(FORGETTING, ()))
        gone = begun | set(user_ids)
        if not gone:
            raise ConfigError(
                f"no user is named, and no earlier `lorerm forget` was interrupted in {run.path}",
                "name users with --user",
                argument="user",
            )
        run.convert_old_layout()
        _check(run, gone, begun)
        # Recorded before any other file changes.
        _note(run, gone)
        run.remove_partial_files()
        removed = find(run.path, UserData.TOTALS)
        if not run.is_finished("embed"):
            removed += [run.path / name for name in run.files(outputs("embed"))]
        if not run.is_finished(input_step(run)):
            # Of an interrupted step, the texts may be there without the comparisons that say whose they are.
            removed += [run.path / RESPONSES, run.path / COMPARISONS]
        for path in removed:
            _remove(path, run.path)
        for path in find(run.path, UserData.WEIGHTS):
            forget_users(path, gone)
        n_comparisons = n_responses = 0
        if (run.path / COMPARISONS).exists():
            n_comparisons = forget_comparisons(run.path, gone)
            n_responses = zero_unused_rows(run.path, load_comparisons(run.path))
        _finish(run, gone)
    return Forgotten(len(gone), n_comparisons, n_responses)


def _check(run: RunFolder, gone: set[str], begun: set[str]) -> None:
    """Refuse unknown users, and all users of the training at once; users in `begun` may have no data left."""
    from lorerm.model.io import USERS, load_users

    known = {path: set(load_users(path).user_ids) for path in find(run.path, UserData.WEIGHTS)}
    in_use = load_comparisons(run.path).user_ids if (run.path / COMPARISONS).exists() else ()
    found = begun.union(in_use, _named_in_warnings(run, gone), *known.values())
    if missing := sorted(gone - found):
        raise UnknownUserError(f"{run.path} has no data of user {missing[0]!r}", "check the id", argument="user")
    if any(path.name == USERS and users and users <= gone for path, users in known.items()):
        raise RunError(f"no user of the training would be left in {run.path}", "delete the run folder instead")


def _note(run: RunFolder, gone: Collection[str]) -> None:
    """Record in the manifest which users are being forgotten, and drop the steps whose files are removed."""
    manifest = run.manifest()
    for file in run_files():
        if file.users is UserData.TOTALS and file.step is not None:
            manifest["steps"].pop(file.step, None)
    run.write({**manifest, FORGETTING: sorted(gone)})


def _finish(run: RunFolder, gone: Collection[str]) -> None:
    """Record the new sizes of the files, so that no step is done again; remove the note and warnings with the users."""
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


def _named_in_warnings(run: RunFolder, user_ids: Collection[str]) -> set[str]:
    """Return the users that a recorded warning names, who may have no comparison in use."""
    results: list[dict[str, Any]] = [record.get("result") or {} for record in run.manifest()["steps"].values()]
    texts = [text for result in results for text in result.get("warnings", ())]
    return {user for user in user_ids if any(_names(text, user) for text in texts)}


def _names(text: str, user: str) -> bool:
    """Return whether a warning has a user in its list of users."""
    return re.search(rf"(\(|, ){re.escape(user)}(, |\)| and )", text) is not None


def _remove(path: Path, run: Path) -> None:
    """Delete a file, and the folders of the run that are empty without it."""
    path.unlink(missing_ok=True)
    with suppress(OSError):
        for folder in path.parents:
            if folder == run:
                break
            folder.rmdir()
