"""Means over users, with standard errors and 95% intervals that hold for other users and other prompts.

Users are drawn from a population, and so are the prompts that many of them share: a hard prompt lowers the accuracy of
every user. The variance of a mean is therefore computed in three parts: the variance over users, plus the variance over
prompts, minus the variance over single pairs of a user and a prompt, because both of the others contain it (two-way
clustering: Cameron, Gelbach and Miller 2011, doi 10.1198/jbes.2010.07136). The intervals are Student's t intervals.

`benchmarks/coverage.py` compares these intervals with two bootstraps. A bootstrap over users gives intervals that are
too narrow if users share prompts. A bootstrap over users and prompts counts the variance over single pairs three times
(Owen 2007, doi 10.1214/07-AOAS122).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lorerm.evaluation.report import Estimate

if TYPE_CHECKING:
    from lorerm.arrays import Floats, Ints


ACCURACY, DIFFERENCE = (0.0, 1.0), (-1.0, 1.0)
"""The range of the possible means: of an accuracy, and of a difference between two accuracies."""


@dataclass(frozen=True, eq=False)
class Sample:
    """User, prompt and share of each of n comparisons.

    Parameters
    ----------
    user
        Int64 [n]: the user of each comparison, in 0..n_users-1; every user has at least one comparison.
    prompt
        Int64 [n]: the prompt of each comparison, in 0..n_prompts-1.
    share
        Float64 [n]: weight of each comparison in the mean of its user; the shares of a user sum to 1.
    """

    user: Ints
    prompt: Ints
    share: Floats

    @property
    def n_users(self) -> int:
        """The number of users M."""
        return int(self.user.max()) + 1

    @property
    def n_prompts(self) -> int:
        """The number of prompts."""
        return int(self.prompt.max()) + 1

    def by_user(self, values: Floats) -> Floats:
        """Return float64 [M, C]: each user's mean of `values` [n, C], weighted by `share`."""
        return _sums(self.user, self.share[:, None] * values, self.n_users)


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

    by_user = sample.by_user(values)
    mean, (n, n_prompts) = by_user.mean(axis=0), (sample.n_users, sample.n_prompts)
    sizes = {"n_users": n, "n_comparisons": len(sample.user), "n_prompts": n_prompts}
    if n < 2:
        return [Estimate(mean=float(middle), stderr=None, ci95=None, **sizes) for middle in mean]
    variance, degrees = by_user.var(axis=0, ddof=1) / n, n - 1
    total = variance.copy()
    pairs, pair = np.unique(sample.user * n_prompts + sample.prompt, return_inverse=True)
    # If no two users share a prompt, the variance over users contains the variance over prompts.
    if 1 < n_prompts < len(pairs):
        # The contribution of each comparison to the deviation of the mean.
        pull = sample.share[:, None] * (values - mean) / n
        over_prompts = _sum_of_squares(sample.prompt, pull, n_prompts)
        over_pairs = _sum_of_squares(pair, pull, len(pairs))
        fewest = min(n, n_prompts)
        # The subtracted variance over pairs also contains a part of the other two variances: 1 / n_prompts of the
        # variance over users and 1 / n of the variance over prompts, if every user has every prompt. The factor
        # fewest / (fewest - 1) compensates for this.
        total = (total + np.maximum(over_prompts - over_pairs, 0)) * fewest / (fewest - 1)
        degrees = fewest - 1
    reach = stdtrit(degrees, 0.975) * np.sqrt(total)
    return [
        Estimate(
            mean=float(middle),
            stderr=float(over_users),
            stderr_two_way=float(two_way),
            std=float(over_users * n**0.5),
            ci95=(max(bounds[0], float(middle - half)), min(bounds[1], float(middle + half))),
            **sizes,
        )
        for middle, over_users, two_way, half in zip(mean, np.sqrt(variance), np.sqrt(total), reach, strict=True)
    ]


def _sums(group: Ints, values: Floats, n_groups: int) -> Floats:
    """Return [n_groups, C]: the sums of `values` [n, C] within each group."""
    columns = [np.bincount(group, weights=column, minlength=n_groups) for column in values.T]
    return np.stack(columns, axis=1)


def _sum_of_squares(group: Ints, values: Floats, n_groups: int) -> Floats:
    """Return [C]: the sum over groups of squared sums of `values` [n, C], times n_groups / (n_groups - 1)."""
    found: Floats = n_groups / (n_groups - 1) * np.square(_sums(group, values, n_groups)).sum(axis=0)
    return found
