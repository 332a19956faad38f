"""Weights of comparisons: the range of one weight, and warnings about all of them together.

A weight says as how many comparisons a row counts. Not only the ratios between weights matter: the larger their sum
over a user's comparisons is, the more certain are the reward weights that are fitted to that user.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from lorerm.arrays import Floats

SMALLEST_WEIGHT, LARGEST_WEIGHT = 1e-9, 1e9
"""The range of one weight. Sums of weights far outside it lose digits, and their squares do not fit into float32."""

# Weights are reported as too small if they sum to at most `_NOTHING` per user, although there are at least `_SEVERAL`
# comparisons per user. Somebody may have normalised them to sum to 1, over all comparisons or for each user.
_NOTHING, _SEVERAL = 1.0, 4
# If the mean weight is at least this, a warning says so: the prior then has hardly any influence.
_OFTEN = 100.0
# Rounding error of a sum of weights, as a share.
_ROUNDING = 1e-6


def count_as_little(total: float, n_comparisons: int, n_users: int) -> bool:
    """Return whether weights are too small: users who gave several comparisons count as if they had given one or none.

    `total` is the sum of all weights.
    """
    return total <= _NOTHING * n_users * (1 + _ROUNDING) and n_comparisons >= _SEVERAL * n_users


def weight_warnings(weights: Floats, n_users: int) -> list[str]:
    """Return a sentence if the weights [n] of all comparisons together count as next to no feedback, or as too much."""
    n, total = len(weights), float(np.sum(weights))
    remedy = "To count every row as one comparison on average, divide the weights by their mean."
    if count_as_little(total, n, n_users):
        return [
            f"The weights of {n:,} comparisons by {n_users:,} users sum to {total:.3g}: together they count as "
            f"{total:.3g} comparisons, from which the default recipe learns next to nothing of any user. {remedy}"
        ]
    if total >= _OFTEN * n:
        return [
            f"The weights of {n:,} comparisons sum to {total:.3g}: each comparison counts as if it had been made "
            f"{total / n:.3g} times, so that weights fitted to a few comparisons look certain. {remedy}"
        ]
    return []
