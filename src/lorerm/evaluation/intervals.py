"""Means over users, with their standard errors and intervals."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

RESAMPLES = 2000
# Users x resamples drawn at once: bounds the memory with very many users.
_DRAWN_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Summary:
    """The mean of one figure per user.

    Parameters
    ----------
    mean
        Over users, each counting once.
    stderr
        Its standard error: the spread over users by the root of their number; None with fewer than two users.
    std
        The spread over users; None with fewer than two.
    ci95
        The 95% interval of the mean, by Student's t; None with fewer than two users.
    n_users, n_pairs
        How many went in.
    """

    mean: float
    stderr: float | None
    std: float | None
    ci95: tuple[float, float] | None
    n_users: int
    n_pairs: int

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-able values."""
        return {**asdict(self), "ci95": None if self.ci95 is None else list(self.ci95)}


def summarise(values: np.ndarray[Any, np.dtype[np.float64]], n_pairs: int) -> Summary:
    """Summarise one figure per user (float64 [M], M at least 1)."""
    from scipy import stats

    mean, n = float(values.mean()), len(values)
    if n < 2:
        return Summary(mean, None, None, None, n, n_pairs)
    std = float(values.std(ddof=1))
    stderr = std / n**0.5
    reach = float(stats.t.ppf(0.975, n - 1)) * stderr
    return Summary(mean, stderr, std, (mean - reach, mean + reach), n, n_pairs)


@dataclass(frozen=True)
class PairedDifference:
    """The mean over users of the difference between two figures of a user, with a bootstrap interval over users."""

    mean: float
    stderr: float | None
    ci95: tuple[float, float] | None
    n_users: int

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-able values."""
        return {**asdict(self), "ci95": None if self.ci95 is None else list(self.ci95)}


def paired_differences(
    differences: np.ndarray[Any, np.dtype[np.float64]], seed: int, resamples: int = RESAMPLES
) -> list[PairedDifference]:
    """Summarise several differences of the same users, on the same resamples.

    Parameters
    ----------
    differences
        Float64 [M, C]: per user (rows), C comparisons.
    seed
        Of the resamples.
    resamples
        How many times M users are drawn with replacement; the interval is their means' 2.5% to 97.5%.
    """
    n, n_comparisons = differences.shape
    means = differences.mean(axis=0)
    if n < 2:
        return [PairedDifference(float(mean), None, None, n) for mean in means]
    rng = np.random.Generator(np.random.PCG64(seed))
    drawn = np.empty((resamples, n_comparisons))
    at_once = max(1, _DRAWN_AT_ONCE // n)
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        # How often each user is drawn is all that a mean needs.
        counts = rng.multinomial(n, np.full(n, 1 / n), size=size)
        drawn[start : start + size] = counts @ differences / n
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    stderr = drawn.std(axis=0, ddof=1)
    return [
        PairedDifference(float(mean), float(error), (float(a), float(b)), n)
        for mean, error, a, b in zip(means, stderr, low, high, strict=True)
    ]
