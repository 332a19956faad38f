"""Reddit TLDR: which of two summaries of a post a worker preferred (Stiennon et al., 2020, arXiv 2009.01325).

A worker is a user, the post's text verbatim the prompt, a summary verbatim the response. The published train and
validation rows (`valid1` and `valid2` in the original files) are train and test.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from lorerm.data.datasets.loaded import Loaded, Tally
from lorerm.data.datasets.raw import Repository, column, of_published_layout, raw_rows
from lorerm.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from lorerm.data.readers.format import Row

# The repository's own loading script is no longer run by `datasets`: the hub's conversion of it to Parquet is read.
REPOSITORY = Repository("openai/summarize_from_feedback", "refs/convert/parquet", "comparisons")
_SPLITS = {"train": "train", "valid": "test", "valid1": "test", "valid2": "test", "validation": "test", "test": "test"}
_STEPS = {
    "article": "news articles of CNN/DM, not Reddit posts (include_cnn_dm takes them, the article as the prompt)",
    "blank": "no text to summarise",
    "same": "both summaries are the same text",
    "one_split": "of workers who are not in both published splits",
}


class _Choice(NamedTuple):
    worker: str
    text_id: str
    text: str
    chosen: str
    rejected: str
    split: str


def load(
    data: str | Path | None = None,
    revision: str | None = None,
    *,
    include_cnn_dm: bool = False,
    keep_shared_posts: bool = False,
) -> Loaded:
    """Load the choices of the workers who are in both published splits.

    Parameters
    ----------
    data
        The original `comparisons/batch*.json`, or files as the hub has them; None downloads them.
    revision
        Of the hub's repository.
    include_cnn_dm
        Whether choices on news articles are taken too.
    keep_shared_posts
        Whether a post that stands in both published splits keeps its training pairs, as published: then train and test
        share prompts, and a warning says how many. Otherwise the split drops them, and counts them.

    Returns
    -------
    Loaded
        Users in ascending order of their number of training pairs, as in the published code, `split` train or test.
    """
    rows = raw_rows(REPOSITORY, data, revision)
    tally = Tally("rows", _STEPS)
    choices = []
    for label, row in rows:
        tally.add()
        with of_published_layout(row):
            choice = _read(row, label, include_cnn_dm)
        if isinstance(choice, str):
            tally.drop(choice)
        else:
            choices.append(choice)
    n_train = Counter(choice.worker for choice in choices if choice.split == "train")
    n_test = Counter(choice.worker for choice in choices if choice.split == "test")
    kept = [choice for choice in choices if choice.worker in n_train and choice.worker in n_test]
    tally.drop("one_split", len(choices) - len(kept))
    if not kept:
        raise DataError(
            f"{rows.source}: no worker has usable choices in both the train and the validation split",
            "give the files of both splits",
        )
    kept.sort(key=lambda choice: (n_train[choice.worker], choice.worker))
    shared = {c.text_id for c in kept if c.split == "train"} & {c.text_id for c in kept if c.split == "test"}
    warnings: tuple[str, ...] = ()
    if keep_shared_posts and shared:
        warnings = (
            f"Posts in both published splits, kept in both as published, so that test prompts are not all new: "
            f"{len(shared):,}.",
        )
    from lorerm.data.preferences import Preferences

    records = (_record(choice, keep_shared_posts and choice.text_id in shared) for choice in kept)
    return Loaded(Preferences.from_records(records, rows.source), rows.source, tally.lines(), warnings)


def _read(row: Row, label: str | None, include_cnn_dm: bool) -> _Choice | str:
    """Read one comparison, or say by which of the steps it is left out."""
    info, summaries = column(row, "info"), column(row, "summaries")
    text = info.get("post")
    if text is None and info.get("article") is not None:
        if not include_cnn_dm:
            return "article"
        text = info["article"]
    if not (text or "").strip():
        return "blank"
    choice = column(row, "choice")
    if len(summaries) != 2 or choice not in (0, 1):
        raise DataError(
            f"choice is {choice!r} of {len(summaries)} summaries",
            "give the comparisons of summarize_from_feedback",
            file=row.source,
            row=row.number,
            column="choice",
        )
    chosen, rejected = summaries[choice]["text"], summaries[1 - choice]["text"]
    if chosen == rejected:
        return "same"
    given = row.record.get("split") if isinstance(row.record, dict) else None
    split = _SPLITS.get(given or label or "")
    if split is None:
        raise DataError(
            f"the split is {given or label!r}",
            "give rows with the column split: train, valid1 or valid2",
            file=row.source,
            row=row.number,
            column="split",
        )
    return _Choice(str(column(row, "worker")), str(info.get("id") or text), text, chosen, rejected, split)


def _record(choice: _Choice, apart: bool) -> dict[str, object]:
    """Make a row of the contract; lists of messages, since a summary may look like a printed list."""
    return {
        "user_id": choice.worker,
        "prompt_id": f"{choice.text_id} ({choice.split})" if apart else choice.text_id,
        "prompt": [{"role": "user", "content": choice.text}],
        "chosen": [{"role": "assistant", "content": choice.chosen}],
        "rejected": [{"role": "assistant", "content": choice.rejected}],
        "split": choice.split,
    }
