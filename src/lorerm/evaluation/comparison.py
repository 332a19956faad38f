"""Comparison of several runs: their accuracies, and differences on the users and prompts that two runs share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lorerm.data.clustering import Sample
from lorerm.data.schema import TEST_SPLITS
from lorerm.evaluation.intervals import DIFFERENCE, estimate
from lorerm.evaluation.report import ComparedRun, RunComparison, RunDifference

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from lorerm.evaluation.report import Estimate, Report

# Columns that identify a row of the stored predictions; `cell` is the split.
_KEY = ["cell", "user_id", "prompt_id"]


def compare_runs(names: Sequence[str], reports: Sequence[Report], predictions: Sequence[pa.Table]) -> RunComparison:
    """Compute the differences in accuracy between each run and the first, with 95% intervals.

    Each run is evaluated at the rank that its validation chose.

    Parameters
    ----------
    names
        Name of each run.
    reports
        Report of each run.
    predictions
        Table of the predictions of each run, as `Predictions.to_table` returns it.
    """
    runs = tuple(_describe(name, report) for name, report in zip(names, reports, strict=True))
    first, *others = (_of_rank(table, run.chosen_rank) for run, table in zip(runs, predictions, strict=True))
    paired = [
        RunDifference(run.name, runs[0].name, split, found)
        for run, other in zip(runs[1:], others, strict=True)
        for split, found in _differences(other, first).items()
    ]
    return RunComparison(runs, tuple(paired))


def _describe(name: str, report: Report) -> ComparedRun:
    row = report.row(report.chosen_rank)
    recipe = report.settings.training.get("recipe")
    return ComparedRun(
        name=name,
        source=report.data.source,
        encoder=None if report.data.encoder is None else report.data.encoder.model,
        recipe=None if recipe is None else str(recipe),
        chosen_rank=report.chosen_rank,
        accuracies=None if row is None else row.accuracies,
    )


def _of_rank(predictions: pa.Table, rank: int) -> pa.Table:
    """Return one row per split, user and prompt: share of comparisons that a rank predicts correctly, and weight."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not predictions.num_columns:  # the run has no comparisons on test prompts
        return pa.table({name: pa.array([], pa.string()) for name in _KEY} | {"correct": [], "share": []})
    share = predictions["share"]
    correct = pc.multiply(predictions[f"rank_{rank}"].cast("float64"), share)
    table = pa.table({name: predictions[name].cast("string") for name in _KEY} | {"correct": correct, "share": share})
    summed = table.group_by(_KEY).aggregate([("correct", "sum"), ("share", "sum")])
    mean = pc.divide(summed["correct_sum"], summed["share_sum"])
    return pa.table({name: summed[name] for name in _KEY} | {"correct": mean, "share": summed["share_sum"]})


def _differences(one: pa.Table, other: pa.Table) -> dict[str, Estimate]:
    """Return the accuracy of `one` minus that of `other` on each test split with at least two common users."""
    import pyarrow.compute as pc

    order = [(name, "ascending") for name in _KEY]
    joined = one.join(other, _KEY, join_type="inner", right_suffix="_other").sort_by(order)
    differences = {}
    for split in TEST_SPLITS:
        both = joined.filter(pc.equal(joined["cell"], split))
        if not len(both):
            continue
        user, prompt = (
            both[name].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
            for name in ("user_id", "prompt_id")
        )
        share = both["share"].to_numpy()
        sample = Sample(user, prompt, share / np.bincount(user, weights=share)[user])
        difference = both["correct"].to_numpy() - both["correct_other"].to_numpy()
        (found,) = estimate(difference[:, None], sample, DIFFERENCE)
        if found.ci95 is not None:
            differences[split] = found
    return differences
