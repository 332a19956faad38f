"""The fits of the default recipe at given penalty strengths: a shared direction, then low-rank deviations from it.

User u has the reward direction theta_u = theta + sum_k a_uk B_k: the shared direction theta, personal directions B_k,
and the user's deviations a_uk along them. In comparison i of user u(i), d_i is the embedding of the chosen response
minus that of the rejected one, with features scaled to equal mean square. There are two stages:

1. theta minimises  mean_i -log sigmoid(d_i . theta)  +  lambda_shared |theta - target|^2, where the target is the
   reference head (the encoder's own reward head) divided by the temperature at which it fits the training comparisons
   best, or 0 without a reference head. Then theta is divided by another temperature, chosen on validation comparisons.
2. B and a_u minimise  mean_i -log sigmoid(d_i . theta_u(i))  +  lambda_personal |B|^2  +  1/(2n) sum_u |a_u|^2, with
   theta fixed.

The last term is the negative log density of a_u ~ N(0, I), divided by n like the mean over the n comparisons. If a user
has few comparisons, the penalties keep theta_u near theta; if there are few comparisons in all, they keep theta near
the reference head. The shared direction is the same at every rank, until `refinement` changes it. It counts as one
direction: a model of rank K has K - 1 personal directions. Both stages use L-BFGS; the second starts from a singular
value decomposition (`spectral_start`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from lorerm.threads import torch_on_one_thread
from lorerm.training.objective import negative_log_likelihood

if TYPE_CHECKING:
    from lorerm.training.pairs import PackedPairs

# Largest number of L-BFGS iterations of one fit.
MAX_STEPS = 300
# Relative decreases of the loss below which L-BFGS stops. The shared direction's problem is convex and takes few steps;
# a smaller tolerance for the deviations doubles their time without a gain in accuracy.
_SHARED_TOLERANCE, _PERSONAL_TOLERANCE = 1e-7, 1e-5
# Directions are dropped if the deviations along them are smaller than this share of the shared direction: they change
# no ranking, and L-BFGS would not enlarge them again, because deviations of 0 are a stationary point.
_NEGLIGIBLE = 1e-2
# Singular values of the users' gradients below this share of the largest one count as 0.
_NO_DIFFERENCE = 1e-4
# Largest number of elements of the matrix of users' gradients [N, D] for an exact singular value decomposition (256
# MB). For larger matrices, subspace iteration approximates the singular vectors. It uses `_OVERSAMPLING` additional
# directions and `_POWER_ITERATIONS` iterations; with fewer it would miss the weaker of the leading singular vectors.
_MAX_DENSE_SVD_ELEMENTS = 2**26
_OVERSAMPLING, _POWER_ITERATIONS = 8, 3
# Deviations are compared with the norm of the shared direction (in log-odds of a typical comparison). If that norm is
# smaller than this, they are compared with this value instead.
_SMALLEST_SCALE = 0.1


@dataclass(frozen=True)
class Strengths:
    """The penalty strengths lambda_shared and lambda_personal; if the latter is None, there are no deviations."""

    shared: float
    personal: float | None = None


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted shared direction and low-rank deviations from it, for scaled features."""

    shared: torch.Tensor
    """[D]: the shared direction theta"""
    directions: torch.Tensor
    """[K - 1, D]: the personal directions B, orthonormal, sorted by decreasing variance of the deviations along them"""
    deviations: torch.Tensor
    """[N, K - 1]: the users' deviations a_u along the personal directions"""
    iterations: int
    """L-BFGS iterations taken"""

    @property
    def basis(self) -> torch.Tensor:
        """[K, D]: the shared direction, then the personal ones."""
        return torch.cat([self.shared[None], self.directions])


def feature_scale(pairs: PackedPairs) -> torch.Tensor:
    """Return factors [D] that give all features equal mean square, and the differences d a root mean square norm of 1.

    A feature gets the factor 0, which excludes it, if it never differs between chosen and rejected responses.
    """
    mean_square = pairs.mean_square()
    alive = mean_square > 0
    scale = torch.where(alive, mean_square.clamp_min(torch.finfo(torch.float32).tiny).rsqrt(), 0.0)
    return scale.div(max(1, int(alive.sum())) ** 0.5)


def fit_shared(
    pairs: PackedPairs, strength: float, target: torch.Tensor, start: torch.Tensor | None = None, steps: int = MAX_STEPS
) -> Fit:
    """Fit the shared direction, with a penalty of the given strength towards `target` [D].

    The problem is convex, so that `start` [D] affects only the time.
    """
    ones = torch.ones(pairs.n_users, 1)
    pair_weight = likelihood_weight(pairs)

    def objective(theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        data = negative_log_likelihood(pairs, theta[None], ones, pair_weight)
        off = theta - target
        return data.loss + strength * off.dot(off), data.basis[0] + 2 * strength * off

    theta, taken = minimise(objective, target if start is None else start, steps, _SHARED_TOLERANCE)
    return Fit(theta, theta.new_zeros(0, len(theta)), theta.new_zeros(pairs.n_users, 0), taken)


def fit_personal(pairs: PackedPairs, strength: float, start: Fit, steps: int = MAX_STEPS) -> Fit:
    """Fit personal directions and deviations with `start.shared` fixed, from a `spectral_start` or an earlier fit."""
    n_users, dimension, rank = pairs.n_users, len(start.shared), len(start.directions)
    if rank == 0:
        return start
    pair_weight = likelihood_weight(pairs)
    user_strength = 0.5 / float(pairs.count.sum())
    shared = pairs.project(start.shared[None])[:, 0].contiguous()
    sizes = [rank * dimension, n_users * rank]

    def objective(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        flat_directions, flat_deviations = torch.split(x, sizes)
        directions, deviations = flat_directions.view(rank, dimension), flat_deviations.view(n_users, rank)
        data = negative_log_likelihood(pairs, directions, deviations, pair_weight, offset=shared)
        loss = data.loss + strength * directions.square().sum() + user_strength * deviations.square().sum()
        of_directions = data.basis + 2 * strength * directions
        of_deviations = data.weights + 2 * user_strength * deviations
        return loss, torch.cat([of_directions.flatten(), of_deviations.flatten()])

    # The likelihood depends only on the product of directions and deviations: scale them to equal penalties.
    total = start.deviations.square().sum(dim=0).clamp_min(1e-12)
    size = (user_strength * total / strength) ** 0.25
    begin = torch.cat([(start.directions * size[:, None]).flatten(), (start.deviations / size).flatten()])
    x, taken = minimise(objective, begin, steps, _PERSONAL_TOLERANCE)
    directions, deviations = torch.split(x, sizes)
    return principal(Fit(start.shared, directions.view(rank, dimension), deviations.view(n_users, rank), taken))


def spectral_start(pairs: PackedPairs, shared: Fit, rank: int) -> Fit:
    """Return a start for `fit_personal` along the leading singular vectors of the users' gradients at `shared`."""
    margin = pairs.project(shared.basis)[:, 0]
    left, singular, right = _differing_gradients(pairs, torch.sigmoid(-margin) * likelihood_weight(pairs), rank - 1)
    kept = min(rank - 1, int((singular > _NO_DIFFERENCE * singular.max()).sum()))
    deviations = left[:, :kept] * singular[:kept]
    # The size of the start hardly matters: it is a tenth of the shared direction's norm. The norm is bounded from
    # below, because it is about 0 if users' preferences are opposite, and a start of size 0 is a stationary point.
    size = (
        0.1
        * shared.shared.norm().clamp_min(_SMALLEST_SCALE)
        / deviations.square().sum(dim=1).mean().sqrt().clamp_min(1e-12)
    )
    return principal(replace(shared, directions=right[:kept], deviations=deviations * size))


def _differing_gradients(
    pairs: PackedPairs, slope: torch.Tensor, rank: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return leading singular vectors and values of the matrix of users' gradients [N, D], centred over users.

    These are the left vectors [N, R], values [R] and right vectors [R, D], with R at least the smallest of `rank`, N
    and D. A user's gradient is the sum of `slope` [n] times d over the user's comparisons.

    If the matrix has more than `_MAX_DENSE_SVD_ELEMENTS` elements, it is not stored: randomised subspace iteration
    needs only its products with a few vectors (Halko, Martinsson and Tropp 2011, arXiv 0909.4061, algorithms 4.4 and
    5.1).
    """
    dimension = pairs.matrix.shape[1]
    if pairs.n_users * dimension <= _MAX_DENSE_SVD_ELEMENTS:
        gradients = pairs.pull_back_by_user(slope)
        left, singular, right = torch.linalg.svd(gradients - gradients.mean(dim=0), full_matrices=False)
        return left, singular, right
    width = min(rank + _OVERSAMPLING, pairs.n_users, dimension)
    # Random vectors over features, not over users: the result does not depend on the order of users.
    directions = torch.randn(width, dimension, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for _ in range(_POWER_ITERATIONS):
        along = pairs.sum_by_user(pairs.project(directions.float()).mul_(slope[:, None])).double()
        users = torch.linalg.qr(along - along.mean(dim=0)).Q
        # Centred again: if users differ along fewer directions than `width`, the other columns of Q are arbitrary.
        of_pairs = pairs.of_pairs((users - users.mean(dim=0)).float()).mul_(slope[:, None])
        features = torch.linalg.qr(pairs.pull_back(of_pairs).double().t())
        directions = features.Q.t()
    left, singular, right = torch.linalg.svd(features.R.t())
    return users @ left, singular, right @ directions


def likelihood_weight(pairs: PackedPairs) -> torch.Tensor:
    """Return the weights of the comparisons in the mean log-likelihood: [n], summing to 1.

    The published loss, a mean over users, gives users with few comparisons as much weight as users with many. This
    lowers accuracy for both, even if accuracy is measured as a mean over users (`docs/method.md`).
    """
    return (pairs.count / pairs.count.sum()).float()


def principal(fit: Fit) -> Fit:
    """Rotate to orthonormal directions sorted by variance of the deviations, drop negligible ones, and fix signs."""
    if fit.directions.shape[0] == 0:
        return fit
    users = torch.linalg.qr(fit.deviations.double())
    features = torch.linalg.qr(fit.directions.double().t())
    left, singular, right = torch.linalg.svd(users.R @ features.R.t())
    size = singular / len(fit.deviations) ** 0.5
    kept = size > _NEGLIGIBLE * float(fit.shared.norm().clamp_min(_SMALLEST_SCALE))
    directions = (features.Q @ right.t())[:, : len(singular)][:, kept].t()
    deviations = (users.Q @ left)[:, : len(singular)][:, kept] * singular[kept]
    # The sign of a direction is arbitrary: its largest element is made positive.
    largest = directions.abs().argmax(dim=1, keepdim=True)
    sign = directions.gather(1, largest).sign()
    return replace(fit, directions=(directions * sign).float(), deviations=(deviations * sign[:, 0]).float())


def minimise(
    objective: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
    start: torch.Tensor,
    steps: int,
    tolerance: float,
) -> tuple[torch.Tensor, int]:
    """Minimise a function by L-BFGS; return the minimiser and the number of iterations.

    `objective` returns value and gradient in float32; the optimiser itself computes in float64. `steps` is the largest
    number of iterations, and `tolerance` the relative decrease of the value below which it stops.
    """
    import numpy as np
    from scipy.optimize import minimize
    from threadpoolctl import threadpool_limits

    def evaluate(x: np.ndarray) -> tuple[float, np.ndarray]:
        loss, gradient = objective(torch.from_numpy(x).float())
        return float(loss), gradient.double().numpy()

    options = {"maxiter": steps, "ftol": tolerance, "gtol": 1e-8, "maxcor": 20}
    # SciPy's BLAS threads busy-wait on the cores that torch computes on, which makes a fit 7 times slower.
    with threadpool_limits(limits=1, user_api="blas"), torch_on_one_thread():
        found = minimize(evaluate, start.double().numpy(), jac=True, method="L-BFGS-B", options=options)  # type: ignore[call-overload]
    return torch.from_numpy(found.x).float(), int(found.nit)
