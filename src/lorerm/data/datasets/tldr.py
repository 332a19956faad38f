"""Load Reddit TLDR: which of two summaries of a post a worker preferred (Stiennon et al., 2020, arXiv 2009.01325).

The workers are the users, the text of a post is the prompt, and the summaries are the responses; all texts are
verbatim. The published train rows are train, and the published validation rows (`valid1` and `valid2` in the original
files) are test.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lorerm.data.conversation import parse_messages
from lorerm.data.datasets.loaded import Loaded, Tally
from lorerm.data.datasets.raw import PublishedOptions, Repository, column, of_published_layout, raw_rows
from lorerm.data.ids import require_id
from lorerm.data.preferences import Preferences
from lorerm.data.schema import Comparison
from lorerm.errors import DataError

if TYPE_CHECKING:
    from lorerm.data.readers.format import Row
    from lorerm.data.splits import SplitConfig

# The `datasets` library no longer runs the repository's loading script, so the hub's conversion to Parquet is read.
REPOSITORY = Repository("openai/summarize_from_feedback", "refs/convert/parquet", "comparisons")
_SPLITS = {"train": "train", "valid": "test", "valid1": "test", "valid2": "test", "validation": "test", "test": "test"}
_STEPS = {
    "article": "on news articles (CNN/DM) instead of Reddit posts; the option include_cnn_dm uses them",
    "blank": "no text to summarise",
    "same": "both summaries are the same text",
    "one_split": "of workers who are not in both published splits",
}


@dataclass(frozen=True)
class Options(PublishedOptions):
    """Reddit TLDR."""

    include_cnn_dm: bool = False
    """also use the comparisons of summaries of news articles (CNN/DM)"""
    keep_shared_posts: bool = False
    """keep the train comparisons of posts that are also test posts, as the published code did; by default they are left
    out, since train and test would share prompts"""


def load(options: Options, _split: SplitConfig | None = None) -> Loaded[Preferences]:
    """Load the comparisons of the workers who are in both published splits; see `in_both_splits` for the order.

    Local files are the original `comparisons/batch*.json`, or files with the layout of the data set on the hub.
    """
    rows = raw_rows(REPOSITORY, options.data, options.revision)
    tally = Tally("rows", _STEPS)
    found = []
    for label, row in rows:
        tally.add()
        with of_published_layout(row):
            comparison = _read(row, label, options.include_cnn_dm)
        if isinstance(comparison, str):
            tally.drop(comparison)
        else:
            found.append(comparison)
    kept = [found[index] for index in in_both_splits(found)]
    tally.drop("one_split", len(found) - len(kept))
    if not kept:
        raise DataError(
            "no worker has usable comparisons in both the train and the validation split",
            "give the files of both splits",
            file=rows.source,
        )
    warnings: tuple[str, ...] = ()
    if options.keep_shared_posts:
        train, test = ({one.prompt_id for one in kept if one.split == split} for split in ("train", "test"))
        if shared := train & test:
            # Give a shared post a different prompt id in train and in test. With one id, the later split would leave
            # the train comparisons out.
            kept = [
                one._replace(prompt_id=f"{one.prompt_id} ({one.split})") if one.prompt_id in shared else one
                for one in kept
            ]
            warnings = (
                f"Posts in both published splits, kept in both as published, so that train and test share prompts: "
                f"{len(shared):,}.",
            )
    preferences = Preferences.from_comparisons(kept)
    return Loaded(preferences, rows.source, tally.lines(), warnings, shares_prompts=options.keep_shared_posts)


def in_both_splits(comparisons: Sequence[Comparison]) -> list[int]:
    """Return the indices of the comparisons of users who are in both train and test.

    They are sorted by the user's number of training comparisons (ascending, as in the published code), then by user id.
    """
    n_train, n_test = (Counter(one.user_id for one in comparisons if one.split == split) for split in ("train", "test"))
    kept = [i for i, one in enumerate(comparisons) if n_train[one.user_id] and n_test[one.user_id]]
    return sorted(kept, key=lambda i: (n_train[comparisons[i].user_id], comparisons[i].user_id))


def _read(row: Row, label: str | None, include_cnn_dm: bool) -> Comparison | str:
    """Return the comparison of a row, or the name of the step that leaves the row out."""
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
            f"summaries: {len(summaries)}, choice: {choice!r}; but a row has 2 summaries and choice 0 or 1",
            "give the comparisons of summarize_from_feedback",
            column="choice",
        )
    chosen, rejected = (
        parse_messages(summaries[side]["text"], "a summary", "assistant") for side in (choice, 1 - choice)
    )
    if chosen == rejected:
        return "same"
    given = row.record.get("split") if isinstance(row.record, dict) else None
    split = _SPLITS.get(given or label or "")
    if split is None:
        raise DataError(
            f"the split is {given or label!r}",
            "give rows with the column split: train, valid1 or valid2",
            column="split",
        )
    user_id = require_id(str(column(row, "worker")), "worker")
    prompt_id = require_id(str(info.get("id") or text), "info")
    return Comparison(user_id, prompt_id, parse_messages(text, "the text", "user"), chosen, rejected, split, 1.0)
