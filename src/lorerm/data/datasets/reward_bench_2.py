"""RewardBench 2: prompts with right and wrong completions, to evaluate on (Malik et al., 2025, arXiv 2506.01937)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lorerm.data.coercion import as_list
from lorerm.data.datasets.raw import Repository, column, raw_rows
from lorerm.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from lorerm.data.readers.format import Row

REPOSITORY = Repository("allenai/reward-bench-2")
TIES = "Ties"


class BenchmarkPrompt(NamedTuple):
    """A prompt with its completions, the right ones first."""

    name: str
    """in the subset Ties "ref:NUMBER" (one right completion) or "tied:NUMBER" (several), which belong together"""
    subset: str
    prompt: str
    completions: tuple[str, ...]
    n_correct: int


def load(data: str | Path | None = None, revision: str | None = None) -> tuple[list[BenchmarkPrompt], str]:
    """Read the benchmark.

    Parameters
    ----------
    data
        A file or folder as the hub has it; None downloads it.
    revision
        Of the hub's repository.

    Returns
    -------
    prompts
        In the order of the file.
    source
        What was read.

    Raises
    ------
    DataError
        It cannot be read, or a row has no right or no wrong completion.
    """
    rows = raw_rows(REPOSITORY, data, revision)
    prompts = [_read(row) for label, row in rows if label in (None, "test")]
    if not prompts:
        raise DataError(f"{rows.source} holds no prompts", "give the test split of RewardBench 2")
    return prompts, rows.source


def _read(row: Row) -> BenchmarkPrompt:
    right, wrong = (as_list(column(row, name)) for name in ("chosen", "rejected"))
    if not right or not wrong or not all(isinstance(text, str) for text in [*right, *wrong]):
        raise DataError(
            f"{row.source}, row {row.number}: chosen and rejected are not both lists of completions",
            "give the test split of RewardBench 2",
        )
    name, subset, prompt = (str(column(row, name)) for name in ("id", "subset", "prompt"))
    subset = TIES if subset.lower() == TIES.lower() else subset
    return BenchmarkPrompt(name, subset, prompt, (*map(str, right), *map(str, wrong)), len(right))
