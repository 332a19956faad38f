"""Weights of comparisons: the range of one weight, and warnings about all of them together.

A weight says how many comparisons a row stands for. It is more than a share: the posterior of a user's weights is as
certain as the sum of the weights of the user's comparisons.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from lorerm.arrays import Floats

SMALLEST_WEIGHT, LARGEST_WEIGHT = 1e-9, 1e9
"""The range of one weight. Sums of weights far outside it lose digits, and their squares do not fit into float32."""

# A user's comparisons count as next to nothing if their weights sum to at most this, on average over users with at
# least `_SEVERAL` comparisons on average. Weights that were normalised to sum to 1, in all or for each user, do so.
_NOTHING, _SEVERAL = 1.0, 4
# Mean weight from which on a warning says how often each comparison counts: the prior then has no influence.
_OFTEN = 100.0
# Rounding error of a sum of weights, as a share.
_ROUNDING = 1e-6


def count_as_little(total: float, n_comparisons: int, n_users: int) -> bool:
    """Return whether weights with this sum make next to no feedback of several comparisons of each user."""
    return total <= _NOTHING * n_users * (1 + _ROUNDING) and n_comparisons >= _SEVERAL * n_users


def weight_warnings(weights: Floats, n_users: int) -> list[str]:
    """Return a sentence if the weights [n] of all comparisons together count as next to no feedback, or as too much."""
    n, total = len(weights), float(np.sum(weights))
    remedy = "To count every row as one comparison on average, divide the weights by their mean."
    if count_as_little(total, n, n_users):
        return [
            f"The weights of {n:,} comparisons sum to {total:.3g}: together they count as little as {total:.3g} "
            f"comparisons of weight 1 by {n_users:,} users, too few to fit anyone's weights. {remedy}"
        ]
    if total >= _OFTEN * n:
        return [
            f"The weights of {n:,} comparisons sum to {total:.3g}: each comparison counts as if it had been made "
            f"{total / n:.3g} times, so that weights fitted to a few comparisons look certain. {remedy}"
        ]
    return []
