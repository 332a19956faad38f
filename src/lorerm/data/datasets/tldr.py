"""Reddit TLDR: which of two summaries of a post a worker preferred (Stiennon et al., 2020, arXiv 2009.01325).

A worker is a user, the text of the post is the prompt, and a summary is a response, all verbatim. The published train
and validation rows (`valid1` and `valid2` in the original files) are train and test.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from lorerm.data.datasets.loaded import Loaded, Tally
from lorerm.data.datasets.raw import PublishedOptions, Repository, column, of_published_layout, raw_rows
from lorerm.errors import DataError

if TYPE_CHECKING:
    from lorerm.data.datasets.loaded import SplitSettings
    from lorerm.data.preferences import Preferences
    from lorerm.data.readers.format import Row

# `datasets` no longer runs the loading script of the repository, so the hub's conversion of it to Parquet is read.
REPOSITORY = Repository("openai/summarize_from_feedback", "refs/convert/parquet", "comparisons")
_SPLITS = {"train": "train", "valid": "test", "valid1": "test", "valid2": "test", "validation": "test", "test": "test"}
_STEPS = {
    "article": "news articles of CNN/DM, not Reddit posts (include_cnn_dm takes them, the article as the prompt)",
    "blank": "no text to summarise",
    "same": "both summaries are the same text",
    "one_split": "of workers who are not in both published splits",
}


@dataclass(frozen=True)
class Options(PublishedOptions):
    """Reddit TLDR."""

    include_cnn_dm: bool = False
    """take comparisons on news articles, too"""
    keep_shared_posts: bool = False
    """keep the training comparisons on posts that are in both published splits, as published: train and test then share
    prompts, and a warning counts them; otherwise the split drops and counts them"""


class _Comparison(NamedTuple):
    worker: str
    text_id: str
    text: str
    chosen: str
    rejected: str
    split: str


def load(options: Options, _split: SplitSettings | None = None) -> Loaded[Preferences]:
    """Load the comparisons of the workers who are in both published splits.

    Local files are the original `comparisons/batch*.json`, or files as on the hub. Users are in ascending order of
    their number of training comparisons, as in the published code; `split` is train or test.
    """
    rows = raw_rows(REPOSITORY, options.data, options.revision)
    tally = Tally("rows", _STEPS)
    comparisons = []
    for label, row in rows:
        tally.add()
        with of_published_layout(row):
            comparison = _read(row, label, options.include_cnn_dm)
        if isinstance(comparison, str):
            tally.drop(comparison)
        else:
            comparisons.append(comparison)
    n_train = Counter(one.worker for one in comparisons if one.split == "train")
    n_test = Counter(one.worker for one in comparisons if one.split == "test")
    kept = [one for one in comparisons if one.worker in n_train and one.worker in n_test]
    tally.drop("one_split", len(comparisons) - len(kept))
    if not kept:
        raise DataError(
            "no worker has usable comparisons in both the train and the validation split",
            "give the files of both splits",
            file=rows.source,
        )
    kept.sort(key=lambda one: (n_train[one.worker], one.worker))
    shared = {one.text_id for one in kept if one.split == "train"} & {
        one.text_id for one in kept if one.split == "test"
    }
    warnings: tuple[str, ...] = ()
    if options.keep_shared_posts and shared:
        warnings = (
            f"Posts in both published splits, kept in both as published, so that test prompts are not all new: "
            f"{len(shared):,}.",
        )
    from lorerm.data.preferences import Preferences

    records = (_record(one, options.keep_shared_posts and one.text_id in shared) for one in kept)
    return Loaded(Preferences.from_records(records, rows.source), rows.source, tally.lines(), warnings)


def _read(row: Row, label: str | None, include_cnn_dm: bool) -> _Comparison | str:
    """Return one comparison, or the name of the step that leaves it out."""
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
    return _Comparison(str(column(row, "worker")), str(info.get("id") or text), text, chosen, rejected, split)


def _record(comparison: _Comparison, by_split: bool) -> dict[str, object]:
    """Return a row of the data contract; lists of messages, since a summary may look like a printed list.

    Where `by_split`, the prompt's id differs between the splits, so that neither drops it.
    """
    return {
        "user_id": comparison.worker,
        "prompt_id": f"{comparison.text_id} ({comparison.split})" if by_split else comparison.text_id,
        "prompt": [{"role": "user", "content": comparison.text}],
        "chosen": [{"role": "assistant", "content": comparison.chosen}],
        "rejected": [{"role": "assistant", "content": comparison.rejected}],
        "split": comparison.split,
    }
