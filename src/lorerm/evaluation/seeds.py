"""Several seeds: how far the figures move with the split and the fit, told apart from the spread between people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lorerm.data.schema import SPLITS, TEST_SPLITS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CHOICE = "choice"


def spread_over_seeds(reports: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Put the reports of several seeds of one data set beside each other.

    Parameters
    ----------
    reports
        By seed, each as `measure` returns it.

    Returns
    -------
    dict
        `seeds`, `chosen_ranks` (of each seed), `ranks` (per rank, and for "choice", the rank that each seed's own
        validation chose: `cells`), and `differences` (of these to the shared direction and to one direction, on test
        prompts). Each figure has `mean` over seeds, `std_seeds`, `stderr_seeds`, `stderr_within` (what one seed's
        standard error over people and prompts is: root of the mean square), `std_fit` (what is left of the former when
        the latter is taken out; 0 where the seeds differ by no more than different people would) and `n_seeds`.
    """
    seeds = sorted(reports)
    ranks = sorted({entry["rank"] for report in reports.values() for entry in report["ranks"] if entry["available"]})
    rows: list[dict[str, Any]] = []
    differences: list[dict[str, Any]] = []
    for rank in [*ranks, CHOICE]:
        cells = {
            name: _spread([_cell(reports[seed], _rank(rank, reports[seed]), name) for seed in seeds]) for name in SPLITS
        }
        rows.append({"rank": rank, "cells": cells})
        for against in ("shared_direction", "bradley_terry"):
            for name in TEST_SPLITS:
                figures = [_gain(reports[seed], rank, against, name) for seed in seeds]
                found = _spread(figures)
                if found is not None:
                    differences.append({"rank": rank, "against": against, "cell": name, **found})
    return {
        "seeds": seeds,
        "chosen_ranks": [reports[seed]["chosen_rank"] for seed in seeds],
        "ranks": rows,
        "differences": differences,
    }


def _rank(rank: int | str, report: Mapping[str, Any]) -> int:
    return int(report["chosen_rank"]) if rank == CHOICE else int(rank)


def _cell(report: Mapping[str, Any], rank: int, name: str) -> Mapping[str, Any] | None:
    entry = next((entry for entry in report["ranks"] if entry["rank"] == rank and entry["available"]), None)
    return None if entry is None else entry["cells"][name]


def _gain(report: Mapping[str, Any], rank: int | str, against: str, name: str) -> Mapping[str, Any] | None:
    """Return a rank's difference; validation's choice of one direction for everybody gains nothing over it."""
    own = _rank(rank, report)
    if rank == CHOICE and own == 1 and _cell(report, 1, name) is not None:
        return {"mean": 0.0, "stderr_two_way": 0.0}
    key = (own, against, name)
    return next((row for row in report["differences"] if (row["rank"], row["against"], row["cell"]) == key), None)


def _spread(figures: Sequence[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    """Summarise one figure over seeds; None unless every seed has it."""
    known = [figure for figure in figures if figure is not None]
    if len(known) < len(figures) or not known:
        return None
    means = np.array([figure["mean"] for figure in known])
    errors = [figure["stderr_two_way"] for figure in known]
    n = len(means)
    std = float(means.std(ddof=1)) if n > 1 else None
    within = None if None in errors else float(np.sqrt(np.mean(np.square(errors))))
    return {
        "mean": float(means.mean()),
        "std_seeds": std,
        "stderr_seeds": None if std is None else std / n**0.5,
        "stderr_within": within,
        "std_fit": None if std is None or within is None else max(0.0, std**2 - within**2) ** 0.5,
        "n_seeds": n,
    }
