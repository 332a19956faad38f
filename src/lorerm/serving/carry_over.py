"""Use feedback for another model after training: from stored differences, or by a map between the bases.

Feedback is stored as projections z = d . V on the basis V [D, K] of the model that received it, where d is the
embedding of the chosen response minus that of the rejected one. A model with a new basis V' needs d . V'. If d was
stored (in float16, or as its image in a fixed random projection), d . V' is computed from d. Otherwise d . V' is
approximated by z . M, where the matrix M [K, K'] minimises the squared error over given differences.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lorerm.arrays import Floats32

_HALF = np.dtype("<f2")


@dataclass(frozen=True, eq=False)
class BasisMap:
    """Linear map from the projections on one basis to those on another."""

    matrix: Floats32
    """float32 [K, K'], where K and K' are the ranks of the two bases"""
    explained: float
    """share of the variance of the projections on the second basis that the map explains, at most 1"""
    n_differences: int
    """number of embedding differences to which the map was fitted; 0: none, all directions of the space count alike"""


def fit_map(source: Floats32, target: Floats32, differences: Floats32 | None) -> BasisMap:
    """Fit the map between two bases [D, K] and [D, K'] by least squares, on embedding differences [n, D].

    If there are not more than max(K, K') of them, they are not used: all directions of the space then count alike,
    which is worse if embeddings vary in few directions.
    """
    known, wanted, n = source.astype(np.float64), target.astype(np.float64), 0
    if differences is not None and len(differences) > max(source.shape[1], target.shape[1]):
        given, n = differences.astype(np.float64), len(differences)
        known, wanted = given @ known, given @ wanted
    matrix = np.linalg.lstsq(known, wanted, rcond=None)[0]
    total = float(np.square(wanted).sum())
    explained = 1.0 - float(np.square(known @ matrix - wanted).sum()) / total if total else 1.0
    return BasisMap(matrix.astype(np.float32), explained, n)


def keep(differences: Floats32, dimensions: int) -> bytes | None:
    """Return the bytes to store for differences [n, D]: float16 values [n, m], or None if one is too large for float16.

    If `dimensions` is at least D, then m = D and the values are the differences themselves. Otherwise m = `dimensions`,
    and the values are the images of the differences in a random projection.
    """
    n_features = differences.shape[1]
    kept = differences if dimensions >= n_features else differences @ _projection(n_features, dimensions)
    with np.errstate(over="ignore"):
        half = kept.astype(_HALF)
    return half.tobytes() if np.isfinite(half).all() else None


def project(stored: bytes, n: int, basis: Floats32) -> Floats32:
    """Return n stored differences (see `keep`) projected on a basis [D, K], float32 [n, K].

    If images in a random projection are stored, the result is an unbiased estimate.
    """
    kept = np.frombuffer(stored, _HALF).reshape(n, -1).astype(np.float32)
    n_features, dimensions = basis.shape[0], kept.shape[1]
    if dimensions == n_features:
        return kept @ basis
    return kept @ (_projection(n_features, dimensions).T @ basis)


@lru_cache(maxsize=4)
def _projection(n_features: int, dimensions: int) -> Floats32:
    """Return a fixed random projection [D, m]: signs, scaled so that lengths stay the same on average.

    The signs are bits of SHAKE-256, so that they are the same with every version of NumPy.
    """
    seed = f"lorerm, random projection, {n_features} x {dimensions}".encode()
    count = n_features * dimensions
    bits = np.unpackbits(np.frombuffer(hashlib.shake_256(seed).digest(-(-count // 8)), np.uint8))[:count]
    signs = 2.0 * bits.reshape(n_features, dimensions).astype(np.float32) - 1.0
    return np.asarray(signs / np.sqrt(dimensions), dtype=np.float32)
