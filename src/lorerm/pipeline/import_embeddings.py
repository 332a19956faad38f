"""The step that takes embeddings made elsewhere, in place of `prepare` and `embed`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorerm.data.stored import COMPARISONS, write_comparisons
from lorerm.errors import RunError
from lorerm.pipeline.experiment import SplitConfig
from lorerm.pipeline.folder import RunFolder, Work
from lorerm.pipeline.sources import describe_files, given_split
from lorerm.pipeline.steps import counts, kept_pairs

if TYPE_CHECKING:
    from lorerm.data.datasets.loaded import Loaded
    from lorerm.embedding.embedded_preferences import EmbeddedPreferences


def import_embeddings(
    run: RunFolder,
    files: Sequence[str | Path],
    read: Callable[[], Loaded[EmbeddedPreferences]],
    split: SplitConfig,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Take embeddings and the comparisons between their rows.

    Parameters
    ----------
    run
        The run folder.
    files
        All that is read, for the manifest.
    read
        Reads them.
    split
        How users and prompts are held out, where the comparisons do not say.
    settings
        What else decides the result, as JSON-able values.
    """
    if run.arguments("prepare"):
        raise RunError(f"{run.path} holds a run on text", "choose another run folder for imported embeddings")

    def begin() -> Work:
        from lorerm.data.leakage import check_leaks
        from lorerm.data.splits import Splits, assign_splits
        from lorerm.embedding.store import store_matrix

        run.report_progress("reading", 0, 1)
        loaded = read()
        data = loaded.preferences
        run.report_progress("reading", 1, 1)
        splits = assign_splits(data.user_ids, data.prompt_ids, given=data.splits, **asdict(split))
        summary = Splits.from_labels(data, splits, unseen_wanted=split.unseen_users > 0).summary
        kept = kept_pairs(splits, summary)
        used = data.with_splits(splits).select(kept)

        def work() -> dict[str, Any]:
            leaks = None if loaded.text is None else check_leaks(loaded.text, split.seed)
            store_matrix(run.path, data.responses, data.reference)
            write_comparisons(run.path, used)
            return {
                **counts(summary, len(data), len(kept)),
                "given": given_split(data.splits),
                "reading": list(loaded.reading),
                "leaks": None if leaks is None else {**leaks.to_dict(), "warnings": leaks.warnings()},
                "warnings": [*loaded.warnings, *summary.warnings()],
            }

        return work

    arguments = {"input": describe_files(files), "split": asdict(split), **(settings or {})}
    return run.step("embed", arguments, begin, more_files=(COMPARISONS,), may_change=False)
