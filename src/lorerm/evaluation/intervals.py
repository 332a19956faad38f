"""Means over users, with standard errors and intervals that say what other people and other prompts would give.

Users are drawn from a population, and so are the prompts that many of them share: a hard prompt moves everybody's
accuracy. The variance of a mean is that over users plus that over prompts less that of their meetings, which both of
them hold (two-way clustering: Cameron, Gelbach and Miller 2011, doi 10.1198/jbes.2010.07136); intervals are Student's.
`benchmarks/coverage.py` compares this with a bootstrap over users, which is too narrow where prompts are shared, and
with one over users and prompts, which counts what happens in a single meeting three times (Owen 2007, doi
10.1214/07-AOAS122).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    Floats = np.ndarray[Any, np.dtype[np.float64]]
    Ints = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, eq=False)
class Sample:
    """Whose choice on which prompt each pair is.

    Parameters
    ----------
    user
        Int64 [n]: the user of each pair, in 0..n_users-1, each with a pair.
    prompt
        Int64 [n]: the prompt of each pair, in 0..n_prompts-1.
    share
        Float64 [n]: how much each pair counts within its user; they sum to 1 for each user.
    """

    user: Ints
    prompt: Ints
    share: Floats

    @property
    def n_users(self) -> int:
        """How many users there are."""
        return int(self.user.max()) + 1

    @property
    def n_prompts(self) -> int:
        """How many prompts there are."""
        return int(self.prompt.max()) + 1

    def by_user(self, values: Floats) -> Floats:
        """Return float64 [M, C]: each user's mean of `values` [n, C]."""
        return _sums(self.user, self.share[:, None] * values, self.n_users)


@dataclass(frozen=True)
class Estimate:
    """The mean over users of some figure, of an accuracy or of the difference between two of the same users.

    Parameters
    ----------
    mean
        Over users, each counting once.
    stderr
        Its standard error over users: their spread by the root of their number; None with fewer than two users.
    stderr_two_way
        Its standard error over users and prompts: at least `stderr`, and equal to it where no prompt has two users.
    std
        The spread over users; None with fewer than two.
    ci95
        The 95% interval of the mean by Student's t, from `stderr_two_way`; None with fewer than two users.
    n_users, n_pairs, n_prompts
        How many went in.
    """

    mean: float
    stderr: float | None
    stderr_two_way: float | None
    std: float | None
    ci95: tuple[float, float] | None
    n_users: int
    n_pairs: int
    n_prompts: int

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-able values."""
        return {**asdict(self), "ci95": None if self.ci95 is None else list(self.ci95)}


def estimate(values: Floats, sample: Sample) -> list[Estimate]:
    """Estimate the means over users of several figures of the same pairs.

    Parameters
    ----------
    values
        Float64 [n, C]: per pair (rows), C figures: 1 where the pair is predicted rightly, else 0; or the difference of
        two such, for a paired comparison.
    sample
        Whose and on which prompt the pairs are.
    """
    from scipy.special import stdtrit  # Student's quantile; scipy.stats takes a second to import

    of_users = sample.by_user(values)
    mean, (n, n_prompts) = of_users.mean(axis=0), (sample.n_users, sample.n_prompts)
    sizes = (n, len(sample.user), n_prompts)
    if n < 2:
        return [Estimate(float(middle), None, None, None, None, *sizes) for middle in mean]
    variance, degrees = of_users.var(axis=0, ddof=1) / n, n - 1
    total = variance.copy()
    meeting, n_meetings = _numbered(sample.user * n_prompts + sample.prompt)
    # Where each prompt has one user only, the two ways are one.
    if 1 < n_prompts < n_meetings:
        pull = sample.share[:, None] * (values - mean) / n
        by_prompt, by_meeting = _sums(sample.prompt, pull, n_prompts), _sums(meeting, pull, n_meetings)
        over_prompts = n_prompts / (n_prompts - 1) * np.square(by_prompt).sum(axis=0)
        over_meetings = n_meetings / (n_meetings - 1) * np.square(by_meeting).sum(axis=0)
        fewest = min(n, n_prompts)
        # The meetings hold some of the users' and prompts' own variance, which the last factor gives back: with all
        # users on all prompts it is the share 1 / n_prompts of the one and 1 / n of the other.
        total = (total + np.maximum(over_prompts - over_meetings, 0)) * fewest / (fewest - 1)
        degrees = fewest - 1
    reach = stdtrit(degrees, 0.975) * np.sqrt(total)
    return [
        Estimate(float(m), float(one), float(both), float(one * n**0.5), (float(m - r), float(m + r)), *sizes)
        for m, one, both, r in zip(mean, np.sqrt(variance), np.sqrt(total), reach, strict=True)
    ]


def _sums(group: Ints, values: Floats, n_groups: int) -> Floats:
    """Return [n_groups, C]: the sums of `values` [n, C] within each group."""
    columns = [np.bincount(group, weights=column, minlength=n_groups) for column in values.T]
    return np.stack(columns, axis=1)


def _numbered(codes: Ints) -> tuple[Ints, int]:
    """Return codes as numbers from 0 on, and how many there are."""
    known, number = np.unique(codes, return_inverse=True)
    return number, len(known)
