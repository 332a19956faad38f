"""Convert the texts in a run folder of an earlier version to the present layout, before a step writes to the folder.

In the present layout the texts are in `responses.parquet`, and `comparisons.parquet` refers to its rows. Earlier
versions used one of two layouts:

- `preferences.parquet`: each comparison with its texts, as `Preferences.write_parquet` writes them.
- If all users compare the same responses: `choices.parquet` (columns `user_id`, `chosen`, `rejected`, `split`), whose
  rows refer to a `responses.parquet` with the column `prompt_id`.

In both, `comparisons.parquet` was written together with the embeddings, and refers to the rows of the embeddings.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lorerm.data.account import ReadingSummary
from lorerm.data.comparisons import Comparisons
from lorerm.data.preferences import Preferences
from lorerm.data.responses import build_responses, responses_schema
from lorerm.data.stored import COMPARISONS, RESPONSES, damaged, load_comparisons, write_comparisons, write_table
from lorerm.errors import DataError, RunError
from lorerm.pipeline.layout import CHOICES, FORGETTING, PREFERENCES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from lorerm.data.conversation import Conversation


def convert(run: Path, manifest: Mapping[str, Any], write_manifest: Callable[[Mapping[str, Any]], None]) -> None:
    """Convert the texts of a locked run folder if they are in an old layout.

    Each file is replaced atomically, and the old files are removed last. After an interruption, the next call completes
    the conversion. If `lorerm forget` was interrupted, the comparisons of the users it was removing are left out.
    """
    found = [name for name in (PREFERENCES, CHOICES) if (run / name).exists()]
    if not found:
        return
    gone = set(manifest.get(FORGETTING, ()))
    prepared, embedded = (manifest["steps"].get(step, {}) for step in ("prepare", "embed"))
    if prepared.get("finished") and any(name in prepared["files"] for name in found):
        # Sizes are compared only if no `lorerm forget` was interrupted: it records the new sizes at its end.
        if not gone and any(_size(run / name) != prepared["files"].get(name) for name in found):
            return  # a truncated file is not converted: the step `prepare` has to be done again
        size = _size(run / COMPARISONS)
        in_order = embedded.get("finished") and size is not None and (gone or size == embedded["files"][COMPARISONS])
        if not _is_converted(run / RESPONSES):
            _convert_texts(run, gone, bool(in_order))
        write_manifest(_with_new_files(run, manifest))
    for name in found:
        (run / name).unlink()


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.exists() else None


def _convert_texts(run: Path, gone: Collection[str], in_order: bool) -> None:
    """Write the new files.

    If `in_order`, `comparisons.parquet` exists and refers to the rows of finished embeddings, and these rows are kept.
    """
    old = _read_texts(run).without_users(gone, missing_ok=True)
    if in_order:
        new = _in_rows_of(load_comparisons(run).without_users(gone, missing_ok=True), old)
    else:
        new = old.canonical()
        write_comparisons(run, new)
    # `responses.parquet` is written last: in the second old layout it is also one of the files that are converted.
    write_table(run / RESPONSES, new.responses)


def _is_converted(path: Path) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return bool(pq.read_schema(path) == responses_schema())
    except (pa.ArrowException, OSError):
        return False


def _read_texts(run: Path) -> Preferences:
    import pyarrow as pa

    path = run / (CHOICES if (run / CHOICES).exists() else PREFERENCES)
    try:
        return _read_choices(run) if path.name == CHOICES else Preferences.read_parquet(path)
    except (pa.ArrowException, DataError, OSError, KeyError, AttributeError) as error:
        raise damaged(path) from error


def _read_choices(run: Path) -> Preferences:
    import pyarrow.parquet as pq

    responses, choices = (pq.read_table(run / name, partitioning=None) for name in (RESPONSES, CHOICES))
    texts = responses.select(["prompt", "response"]).cast(responses_schema()).combine_chunks()
    chosen = choices["chosen"].to_numpy().astype(np.int64)
    columns = Comparisons.from_columns(
        chosen,
        choices["rejected"].to_numpy(),
        np.array(choices["user_id"].to_pylist(), dtype=object),
        np.array(responses["prompt_id"].to_pylist(), dtype=object)[chosen],
        splits=np.array(choices["split"].to_pylist(), dtype=object),
    ).columns()
    return Preferences(**columns, responses=texts, summary=ReadingSummary(len(chosen), len(chosen)))


def _in_rows_of(embedded: Comparisons, old: Preferences) -> Preferences:
    """Return the comparisons of `old` with their responses in the rows that `embedded` refers to.

    Rows that no comparison refers to get empty texts.
    """
    if len(embedded) != len(old):
        raise RunError(
            f"{COMPARISONS} has {len(embedded)} comparisons, but the file with their texts has {len(old)}",
            "make a new run",
        )
    chosen, rejected = embedded.rows()
    texts: dict[int, tuple[Conversation, Conversation]] = {}
    for rows, side in ((rejected, old.messages("rejected")), (chosen, old.messages("chosen"))):
        texts |= dict(zip(rows.tolist(), zip(old.messages("prompt"), side, strict=True), strict=True))
    n_rows = max(int(chosen.max(initial=-1)), int(rejected.max(initial=-1))) + 1
    responses = build_responses(texts.get(row, ((), ())) for row in range(n_rows))
    return replace(old, **{**embedded.columns(), "splits": old.splits}, responses=responses)


def _with_new_files(run: Path, manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the manifest with `comparisons.parquet` recorded as a file of the step `prepare` instead of `embed`."""
    steps = dict(manifest["steps"])
    sizes = {name: (run / name).stat().st_size for name in (RESPONSES, COMPARISONS)}
    steps["prepare"] = {**steps["prepare"], "files": sizes}
    files = steps.get("embed", {}).get("files", {})
    # If the sizes differ, the rows of the embeddings are unknown. The old entry stays, so that `embed` is done again.
    if files.get(COMPARISONS) == sizes[COMPARISONS]:
        others = {name: size for name, size in files.items() if name != COMPARISONS}
        steps["embed"] = {**steps["embed"], "files": others}
    return {**manifest, "steps": steps}
