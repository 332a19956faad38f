"""Remove users from every file of a run folder. `pipeline.layout` lists the user data in each file.

- The basis and the prior stay, although they were fitted to all users together, the removed users included. To fit them
  without these users, delete `models/` and run `lorerm train` again.
- Results that include one of the users are removed (the report, further seeds, the few-shot curve, benchmark results).
  These results can be computed again. Other results stay: a user whom only `lorerm adapt` added is in no report.
- The input files of the run are not changed, and the run does not read them again.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lorerm.data.ids import as_ids, nearest, shown
from lorerm.data.stored import COMPARISONS, RESPONSES, load_comparisons
from lorerm.data.stored import forget_users as forget_comparisons
from lorerm.embedding.store import zero_unused_rows
from lorerm.errors import ConfigError, RunError, UnknownUserError
from lorerm.evaluation.rewardbench import RESULTS as BENCHMARK_RESULTS
from lorerm.pipeline.folder import FORGOT, RunFolder, input_step, locked
from lorerm.pipeline.layout import (
    FORGETTING,
    REWARDBENCH,
    RunFile,
    UserData,
    find,
    is_partial,
    outputs,
    run_files,
)

RESULTS = {
    "report": "lorerm report",
    "seeds": "lorerm report --seeds",
    "shots": "lorerm shots",
    REWARDBENCH: "lorerm rewardbench",
}
"""Name of each result of a run -> the command that computes it again."""


@dataclass(frozen=True)
class Forgotten:
    """Numbers of users, comparisons and embeddings that `forget` removed from a run."""

    n_users: int
    """number of users"""
    n_comparisons: int
    """number of their comparisons"""
    n_responses: int
    """number of embeddings of responses that only these users compared"""
    results: tuple[str, ...]
    """results that were removed because they included one of the users: names in `RESULTS`"""


def forget(run: RunFolder, user_ids: Collection[str] = ()) -> Forgotten:
    """Remove users from every file of a run.

    Each file is replaced atomically. After an interruption, every other use of the run raises `RunError`, and the next
    call removes the same users together with those in `user_ids`, which may then be empty.
    """
    from lorerm.model.io import forget_users

    named = as_ids(user_ids, "user")
    with locked(run.path):
        begun = set(run.manifest().get(FORGETTING, ()))
        gone = begun | set(named)
        if not gone:
            raise ConfigError(
                f"no user is named, and no earlier `lorerm forget` was interrupted in {run.path}",
                "name users with --user",
                argument="user",
            )
        run.convert_old_layout()
        _check(run, gone, begun)
        files = _results_about(run, gone)
        removed = [path for file in files for path in run.path.glob(file.name) if not is_partial(path)]
        made = {_result_of(file) for file in files if any(run.path.glob(file.name))}
        # Recorded before any other file changes.
        _note(run, gone, {file.step for file in files})
        run.remove_partial_files()
        if not run.is_finished("embed"):
            removed += [run.path / name for name in run.files(outputs("embed"))]
        if not run.is_finished(input_step(run)):
            # An interrupted step may have written texts without the comparisons that assign them to users.
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
    return Forgotten(len(gone), n_comparisons, n_responses, tuple(name for name in RESULTS if name in made))


def _check(run: RunFolder, gone: set[str], begun: set[str]) -> None:
    """Check that every user has data in the run, and that training keeps at least one user.

    Users in `begun`, whose removal was interrupted, may have no data left.
    """
    from lorerm.model.io import USERS, load_users

    known = {path: set(load_users(path).user_ids) for path in find(run.path, UserData.WEIGHTS)}
    in_use = load_comparisons(run.path).user_ids if (run.path / COMPARISONS).exists() else ()
    found = begun.union(in_use, _named_in_warnings(run, gone), *known.values())
    if missing := sorted(gone - found):
        near = nearest(missing[0], sorted(found))
        remedy = "check the user's id" if near is None else f"check the user's id, which may be {shown(near)}"
        raise UnknownUserError(f"{run.path} has no data of user {missing[0]!r}", remedy, argument="user")
    if any(path.name == USERS and users and users <= gone for path, users in known.items()):
        raise RunError(f"{run.path} would have no trained user left", "delete the run folder instead")


def _results_about(run: RunFolder, gone: Collection[str]) -> list[RunFile]:
    """Return the files with results, finished or not, that include one of the users."""
    splits: set[str] = set()
    if (run.path / COMPARISONS).exists():
        table = load_comparisons(run.path)
        theirs = np.array([user in gone for user in table.user_ids], dtype=bool)
        splits = set(map(str, np.asarray(table.splits)[theirs]))
    # Before the input is read completely, it is unknown which users it contains.
    in_input = bool(splits) or not run.is_finished(input_step(run))
    includes = {
        "report": in_input or bool(_named_in_warnings(run, gone)),
        "shots": in_input and (not splits or any(label.endswith("_unseen") for label in splits)),
        REWARDBENCH: _benchmark_names(run, gone),
    }
    return [
        file for file in run_files() if file.users is UserData.TOTALS and includes.get(_result_of(file) or "", in_input)
    ]


def _result_of(file: RunFile) -> str | None:
    """Return the name of the result to which a file belongs; None for a temporary file of an unfinished step."""
    return REWARDBENCH if file.name.startswith(f"{REWARDBENCH}/") else file.step


def _benchmark_names(run: RunFolder, gone: Collection[str]) -> bool:
    """Return whether the benchmark results score the weights of one of the users, or cannot be read."""
    scores, text = (run.path / REWARDBENCH / name for name in BENCHMARK_RESULTS)
    if not scores.exists():
        return text.exists()
    with scores.open(encoding="utf-8", newline="") as lines:
        scorers = {row[0] for row in csv.reader(lines) if row}
    return any(f"user {user}" in scorers for user in gone)


def _note(run: RunFolder, gone: Collection[str], steps: Collection[str | None]) -> None:
    """Record in the manifest which users are being forgotten, and drop the `steps` whose results are removed."""
    manifest = run.manifest()
    for step in steps:
        manifest["steps"].pop(step, None)
    run.write({**manifest, FORGETTING: sorted(gone)})


def _finish(run: RunFolder, gone: Collection[str]) -> None:
    """Record in the manifest that the users are removed.

    The new sizes of the files are recorded, so that no step is done again. The list of users to remove is deleted, and
    so are the warnings that name one of them.
    """
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
    """Return the users in `user_ids` that a recorded warning names. They may have no comparison in a split."""
    results: list[dict[str, Any]] = [record.get("result") or {} for record in run.manifest()["steps"].values()]
    texts = [text for result in results for text in result.get("warnings", ())]
    return {user for user in user_ids if any(_names(text, user) for text in texts)}


def _names(text: str, user: str) -> bool:
    """Return whether a warning names a user, in the list "(a, b and c)" or quoted as by `lorerm.data.ids.shown`."""
    return re.search(rf"(\(|, ){re.escape(user)}(, |\)| and )", text) is not None or shown(user) in text


def _remove(path: Path, run: Path) -> None:
    """Delete a file, and then each parent folder inside the run folder that is empty."""
    path.unlink(missing_ok=True)
    with suppress(OSError):
        for folder in path.parents:
            if folder == run:
                break
            folder.rmdir()
