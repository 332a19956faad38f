"""Means over users, with standard errors and 95% intervals that hold for other users and other prompts.

The standard errors are two-way clustered, over users and prompts (`lorerm.data.clustering`). The intervals are those of
Student's t distribution.

`benchmarks/coverage.py` compares these intervals with two bootstraps. A bootstrap over users gives intervals that are
too narrow if users share prompts. A bootstrap over users and prompts counts the variance over single pairs three times
(Owen 2007, doi 10.1214/07-AOAS122).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lorerm.data.clustering import mean_over_users
from lorerm.evaluation.report import Estimate

if TYPE_CHECKING:
    from lorerm.arrays import Floats
    from lorerm.data.clustering import Sample

ACCURACY, DIFFERENCE = (0.0, 1.0), (-1.0, 1.0)
"""The range of the possible means: of an accuracy, and of a difference between two accuracies."""


def estimate(values: Floats, sample: Sample, bounds: tuple[float, float]) -> list[Estimate]:
    """Estimate the means over users of C values per comparison, with standard errors and 95% intervals.

    Parameters
    ----------
    values
        Float64 [n, C]: 1 if the comparison is predicted correctly, 0 if not, 1/2 for a tie; or the difference of two
        such values.
    sample
        User, prompt and share of each comparison.
    bounds
        `ACCURACY` or `DIFFERENCE`: the smallest and the largest possible mean, at which the intervals end.

    Returns
    -------
    list of Estimate
        One estimate per column. With a single user it has a mean but no standard error and no interval.
    """
    from scipy.special import stdtrit  # Student's quantile; scipy.stats takes a second to import

    sizes = {"n_users": sample.n_users, "n_comparisons": len(sample.user), "n_prompts": sample.n_prompts}
    found = mean_over_users(values, sample)
    if sample.n_users < 2:
        return [Estimate(mean=float(middle), stderr=None, ci95=None, **sizes) for middle in found.mean]
    reach = stdtrit(found.degrees, 0.975) * found.two_way
    return [
        Estimate(
            mean=float(middle),
            stderr=float(over_users),
            stderr_two_way=float(two_way),
            std=float(over_users * sample.n_users**0.5),
            ci95=(max(bounds[0], float(middle - half)), min(bounds[1], float(middle + half))),
            **sizes,
        )
        for middle, over_users, two_way, half in zip(found.mean, found.over_users, found.two_way, reach, strict=True)
    ]
