"""Weights of comparisons: the range of one weight, and warnings about all weights together.

A weight is the number of comparisons as which a row counts. Their size matters, not only their ratios: the larger the
sum over a user's comparisons is, the more certain are the reward weights that are fitted to that user.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from lorerm.arrays import Floats

SMALLEST_WEIGHT, LARGEST_WEIGHT = 1e-9, 1e9
"""The range of one weight. Far outside it, sums of weights lose digits, and squares do not fit into float32."""

# Weights are reported as too small if they sum to at most `_NOTHING` per user, although there are at least `_SEVERAL`
# comparisons per user: then they were probably normalised to sum to 1, over all comparisons or for each user.
_NOTHING, _SEVERAL = 1.0, 4
# If the mean weight is at least this, a warning says so: the prior then has hardly any influence.
_OFTEN = 100.0
# Rounding error of a sum of weights, as a share of the sum.
_ROUNDING = 1e-6


def count_as_little(total: float, n_comparisons: int, n_users: int) -> bool:
    """Return whether weights are too small: users with several comparisons count as if they had one or none.

    `total` is the sum of all weights.
    """
    return total <= _NOTHING * n_users * (1 + _ROUNDING) and n_comparisons >= _SEVERAL * n_users


def weight_warnings(weights: Floats, n_users: int) -> list[str]:
    """Return a list with a warning if weights [n] together are unusually small or large; otherwise an empty list."""
    n, total = len(weights), float(np.sum(weights))
    remedy = "To count every row as one comparison on average, divide the weights by their mean."
    if count_as_little(total, n, n_users):
        return [
            f"The weights of {n:,} comparisons by {n_users:,} users sum to {total:.3g}: together they count as "
            f"{total:.3g} comparisons. From so few the default recipe learns next to nothing about a user. {remedy}"
        ]
    if total >= _OFTEN * n:
        return [
            f"The weights of {n:,} comparisons sum to {total:.3g}: each comparison counts as if it had been made "
            f"{total / n:.3g} times, so that a user's weights look certain after a few comparisons. {remedy}"
        ]
    return []
