"""Several evaluations side by side, paired where their users and prompts coincide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lorerm.data.schema import TEST_SPLITS
from lorerm.evaluation.intervals import Sample, estimate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

_KEY = ["cell", "user_id", "prompt_id"]


def compare_runs(
    names: Sequence[str], reports: Sequence[Mapping[str, Any]], predictions: Sequence[pa.Table]
) -> dict[str, Any]:
    """Compare the chosen ranks of several runs.

    Parameters
    ----------
    names
        Of the runs.
    reports
        Each as `measure` returns it.
    predictions
        Each as `Measured.predictions` returns it.

    Returns
    -------
    dict
        `runs`: of each its name, `source`, `encoder`, `recipe`, `chosen_rank` and that rank's `cells`; and `paired`:
        for each run after the first, and each cell of test prompts, its accuracy less that of the first on the users
        and prompts that both have in that cell, with interval. A cell without two such users has no entry.
    """
    runs = []
    for name, report in zip(names, reports, strict=True):
        rank = report["chosen_rank"]
        entry = next(entry for entry in report["ranks"] if entry["rank"] == rank)
        runs.append(
            {
                "name": name,
                "source": report["data"].get("source"),
                "encoder": (report["data"].get("encoder") or {}).get("model"),
                "recipe": (report.get("config") or {}).get("training", {}).get("recipe"),
                "chosen_rank": rank,
                "cells": entry["cells"],
            }
        )
    first = _of_chosen(predictions[0], runs[0]["chosen_rank"])
    paired = []
    for run, table in zip(runs[1:], predictions[1:], strict=True):
        other = _of_chosen(table, run["chosen_rank"])
        paired += [{"run": run["name"], "against": runs[0]["name"], **row} for row in _paired(other, first)]
    return {"runs": runs, "paired": paired}


def _of_chosen(predictions: pa.Table, rank: int) -> pa.Table:
    """Return one row per cell, user and prompt: the share of pairs predicted rightly, and what they count."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not predictions.num_columns:
        return pa.table({name: pa.array([], pa.string()) for name in _KEY} | {"right": [], "share": []})
    share = predictions["share"]
    right = pc.multiply(predictions[f"rank_{rank}"].cast("float64"), share)
    table = pa.table({name: predictions[name].cast("string") for name in _KEY} | {"right": right, "share": share})
    summed = table.group_by(_KEY).aggregate([("right", "sum"), ("share", "sum")])
    mean = pc.divide(summed["right_sum"], summed["share_sum"])
    return pa.table({name: summed[name] for name in _KEY} | {"right": mean, "share": summed["share_sum"]})


def _paired(one: pa.Table, other: pa.Table) -> list[dict[str, Any]]:
    """Return the differences of two runs per cell, over the meetings of user and prompt that both have."""
    import pyarrow.compute as pc

    joined = one.join(other, _KEY, join_type="inner", right_suffix="_other").sort_by(
        [(name, "ascending") for name in _KEY]
    )
    rows = []
    for cell in TEST_SPLITS:
        both = joined.filter(pc.equal(joined["cell"], cell))
        if not len(both):
            continue
        user, prompt = (
            both[name].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
            for name in ("user_id", "prompt_id")
        )
        share = both["share"].to_numpy()
        sample = Sample(user, prompt, share / np.bincount(user, weights=share)[user])
        difference = both["right"].to_numpy() - both["right_other"].to_numpy()
        (found,) = estimate(difference[:, None], sample)
        if found.ci95 is not None:
            rows.append({"cell": cell, **found.to_dict()})
    return rows
