"""Means over users, with standard errors and 95% intervals that hold for other users and other prompts.

Users are drawn from a population, and so are the prompts that many of them share: a hard prompt lowers the accuracy of
every user. The variance of a mean is therefore that over users plus that over prompts, minus that over single pairs of
a user and a prompt, which both contain (two-way clustering: Cameron, Gelbach and Miller 2011, doi
10.1198/jbes.2010.07136); the intervals are Student's t intervals. `benchmarks/coverage.py` compares them with those of
a bootstrap over users, which are too narrow where users share prompts, and of a bootstrap over users and prompts, which
counts the variance over single pairs three times (Owen 2007, doi 10.1214/07-AOAS122).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lorerm.evaluation.report import Estimate

if TYPE_CHECKING:
    from lorerm.arrays import Floats, Ints


@dataclass(frozen=True, eq=False)
class Sample:
    """User, prompt and share of each of n comparisons.

    Parameters
    ----------
    user
        Int64 [n]: the user of each comparison, in 0..n_users-1; each has at least one.
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
        """Return float64 [M, C]: each user's mean of `values` [n, C]."""
        return _sums(self.user, self.share[:, None] * values, self.n_users)


def estimate(values: Floats, sample: Sample) -> list[Estimate]:
    """Estimate the means over users of C quantities of the same comparisons.

    Parameters
    ----------
    values
        Float64 [n, C]: 1 for a comparison that is predicted correctly and else 0; or the difference of two such values.
    sample
        User and prompt of each comparison.

    Returns
    -------
    list of Estimate
        One for each column. With fewer than two users it has a mean but no standard error and no interval.
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
    # Where no prompt has two users, the variance over users is all there is.
    if 1 < n_prompts < len(pairs):
        pull = sample.share[:, None] * (values - mean) / n
        over_prompts = _sum_of_squares(sample.prompt, pull, n_prompts)
        over_pairs = _sum_of_squares(pair, pull, len(pairs))
        fewest = min(n, n_prompts)
        # The variance over pairs contains a part of that over users and of that over prompts, which the last factor
        # gives back: with all users on all prompts these parts are 1 / n_prompts of the one and 1 / n of the other.
        total = (total + np.maximum(over_prompts - over_pairs, 0)) * fewest / (fewest - 1)
        degrees = fewest - 1
    reach = stdtrit(degrees, 0.975) * np.sqrt(total)
    return [
        Estimate(
            mean=float(middle),
            stderr=float(over_users),
            stderr_two_way=float(two_way),
            std=float(over_users * n**0.5),
            ci95=(float(middle - half), float(middle + half)),
            **sizes,
        )
        for middle, over_users, two_way, half in zip(mean, np.sqrt(variance), np.sqrt(total), reach, strict=True)
    ]


def _sums(group: Ints, values: Floats, n_groups: int) -> Floats:
    """Return [n_groups, C]: the sums of `values` [n, C] within each group."""
    columns = [np.bincount(group, weights=column, minlength=n_groups) for column in values.T]
    return np.stack(columns, axis=1)


def _sum_of_squares(group: Ints, values: Floats, n_groups: int) -> Floats:
    """Return [C]: the sum over groups of the squared sum of `values` [n, C], corrected for the number of groups."""
    found: Floats = n_groups / (n_groups - 1) * np.square(_sums(group, values, n_groups)).sum(axis=0)
    return found
