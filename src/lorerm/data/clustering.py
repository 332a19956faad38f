"""Means over users, with the standard errors that hold for other users and other prompts (two-way clustering).

Users are drawn from a population, and so are the prompts that many of them share: a hard prompt affects every user. The
variance of a mean is therefore computed in three parts: the variance over users, plus the variance over prompts, minus
the variance over single pairs of a user and a prompt, because both the first and the second part contain it (Cameron,
Gelbach and Miller 2011, doi 10.1198/jbes.2010.07136). Validation compares settings, and evaluation compares models,
with these standard errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from lorerm.arrays import Floats, Ints


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
        """Return each user's mean of `values` [n, C], weighted by `share`; float64 [M, C]."""
        return _sums(self.user, self.share[:, None] * values, self.n_users)


class ClusteredMean(NamedTuple):
    """Means over users of C values per comparison, with two standard errors."""

    mean: Floats
    """float64 [C]: the mean over users of each user's mean"""
    over_users: Floats
    """float64 [C]: the standard error over users alone; NaN with a single user"""
    two_way: Floats
    """float64 [C]: the standard error over users and prompts; NaN with a single user"""
    degrees: int
    """degrees of freedom of `two_way`"""


def mean_over_users(values: Floats, sample: Sample) -> ClusteredMean:
    """Return the means over users of `values` [n, C], one row per comparison of `sample`, with standard errors."""
    by_user = sample.by_user(values)
    mean, (n, n_prompts) = by_user.mean(axis=0), (sample.n_users, sample.n_prompts)
    if n < 2:
        unknown = np.full_like(mean, np.nan)
        return ClusteredMean(mean, unknown, unknown, 0)
    variance, degrees = by_user.var(axis=0, ddof=1) / n, n - 1
    total = variance
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
    return ClusteredMean(mean, np.sqrt(variance), np.sqrt(total), degrees)


def _sums(group: Ints, values: Floats, n_groups: int) -> Floats:
    """Return the sums of `values` [n, C] within each group, [n_groups, C]."""
    columns = [np.bincount(group, weights=column, minlength=n_groups) for column in values.T]
    return np.stack(columns, axis=1)


def _sum_of_squares(group: Ints, values: Floats, n_groups: int) -> Floats:
    """Return the sum over groups of the squared sums of `values` [n, C], times n_groups / (n_groups - 1); shape [C]."""
    found: Floats = n_groups / (n_groups - 1) * np.square(_sums(group, values, n_groups)).sum(axis=0)
    return found
