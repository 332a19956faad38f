"""Spread of accuracies and differences over several seeds, and the part of the spread that training alone explains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lorerm.data.schema import SPLITS, TEST_SPLITS
from lorerm.evaluation.report import SeedDifference, SeedRow, SeedSpread, SeedStudy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lorerm.evaluation.report import Report, SeedEvaluation

    # A mean and its standard error over users and prompts; the standard error is None for one user.
    _Figure = tuple[float, float | None]

CHOICE = "choice"
"""Used instead of a rank: for each seed, the rank that its own validation chose."""

_BASELINES = ("shared_direction", "bradley_terry")


def spread_over_seeds(evaluations: Mapping[int, Report | SeedEvaluation]) -> SeedStudy:
    """Compute mean and spread over seeds of the accuracies and differences in evaluations of one data set.

    Parameters
    ----------
    evaluations
        The evaluations by seed.

    Returns
    -------
    SeedStudy
        For each rank, and for "choice" (in each seed, the rank that its own validation chose): the accuracies, and on
        test prompts the differences from two baselines. These are the population model (every user gets the weights of
        a user without comparisons) and the single Bradley-Terry model (one direction for all users).
    """
    seeds = sorted(evaluations)
    ordered = [evaluations[seed] for seed in seeds]
    ranks: list[int | str] = sorted({rank for one in ordered for rank in one.available_ranks})
    rows, differences = [], []
    for rank in [*ranks, CHOICE]:
        accuracies = {split: _spread([_accuracy(one, rank, split) for one in ordered]) for split in SPLITS}
        rows.append(SeedRow(rank, accuracies))
        for against in _BASELINES:
            for split in TEST_SPLITS:
                spread = _spread([_difference(one, rank, against, split) for one in ordered])
                if spread is not None:
                    differences.append(SeedDifference(rank, against, split, spread))
    return SeedStudy(tuple(seeds), tuple(one.chosen_rank for one in ordered), tuple(rows), tuple(differences))


def _own_rank(evaluation: Report | SeedEvaluation, rank: int | str) -> int:
    return evaluation.chosen_rank if rank == CHOICE else int(rank)


def _accuracy(evaluation: Report | SeedEvaluation, rank: int | str, split: str) -> _Figure | None:
    found = evaluation.accuracy(_own_rank(evaluation, rank), split)
    return None if found is None else (found.mean, found.stderr_two_way)


def _difference(evaluation: Report | SeedEvaluation, rank: int | str, against: str, split: str) -> _Figure | None:
    own = _own_rank(evaluation, rank)
    # If a seed chose rank 1, the chosen model equals both baselines, so both differences are 0.
    if rank == CHOICE and own == 1 and evaluation.accuracy(1, split) is not None:
        return 0.0, 0.0
    found = evaluation.difference(own, against, split)
    return None if found is None else (found.estimate.mean, found.estimate.stderr_two_way)


def _spread(figures: Sequence[_Figure | None]) -> SeedSpread | None:
    """Summarise a value over seeds; return None if a seed lacks it."""
    known = [figure for figure in figures if figure is not None]
    n = len(figures)
    if len(known) < n:
        return None
    means = np.array([mean for mean, _ in known])
    errors = [error for _, error in known if error is not None]
    std = float(means.std(ddof=1)) if n > 1 else None
    within = float(np.sqrt(np.mean(np.square(errors)))) if len(errors) == n else None
    return SeedSpread(
        mean=float(means.mean()),
        std_seeds=std,
        stderr_seeds=None if std is None else std / n**0.5,
        stderr_within=within,
        std_fit=None if std is None or within is None else max(0.0, std**2 - within**2) ** 0.5,
        n_seeds=n,
    )
