"""The default recipe at given strengths: a shared direction, then personal deviations of low rank on top of it.

theta_u = theta + sum_k a_uk B_k, on features scaled to one mean square, in two stages:

1. theta minimises  mean_i -log sigmoid(d_i . theta)  +  lambda_shared |theta - target|^2, where the target is the
   reference head at its best scale, or 0; it is then divided by the temperature that validation chose, and stays;
2. B and a_u minimise  mean_i -log sigmoid(d_i . theta_u(i))  +  lambda_personal |B|^2  +  1/(2n) sum_u |a_u|^2.

The last term is that of users drawn from N(0, I), at the weight that it has beside n judgements. So a user with few
answers falls back to the shared direction, the shared direction to the reference head, and at every rank the shared
direction is the same (until `refinement` moves it). Rank K counts it: K directions under weights that sum to 1 span
just their mean and K - 1 deviations. Both stages are smooth and small: L-BFGS, the second from a spectral start.
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

MAX_STEPS = 300
# A relative decrease of the loss below these is convergence. The shared direction's problem is convex, and to its end
# there are few steps; tighter than this, a fit of deviations takes twice the time for the same accuracy.
_SHARED_TOLERANCE, _PERSONAL_TOLERANCE = 1e-7, 1e-5
# Deviations along a direction that are smaller than this share of the shared direction change no ranking. L-BFGS leaves
# them there: no deviation is a stationary point at every strength.
_NEGLIGIBLE = 1e-2
# Users' gradients differ along a direction if they do by more than this share of the largest difference.
_NO_DIRECTION = 1e-4
# Numbers in the matrix of users' gradients, at most, that it is held and decomposed: 256 MB. Of a larger one the first
# directions are found with some more beside them, in so many rounds; with less of either the weaker ones are missed.
_HELD = 2**26
_MORE_DIRECTIONS, _ROUNDS = 8, 3
# A shared direction shorter than this, in log-odds of a typical pair, says nothing about the size of deviations.
_SHORTEST = 0.1


@dataclass(frozen=True)
class Strengths:
    """The two regularisation strengths; without `personal` there are no deviations, the shared direction is alone."""

    shared: float
    personal: float | None = None


@dataclass(frozen=True, eq=False)
class Fit:
    """What a fit found, on the scaled features.

    Parameters
    ----------
    shared
        [D]: theta.
    directions
        [K-1, D]: orthonormal, in order of the spread of the deviations along them.
    deviations
        [N, K-1]: a_u.
    steps
        L-BFGS iterations.
    """

    shared: torch.Tensor
    directions: torch.Tensor
    deviations: torch.Tensor
    steps: int

    @property
    def basis(self) -> torch.Tensor:
        """[K, D]: the shared direction, then the personal ones."""
        return torch.cat([self.shared[None], self.directions])


def feature_scale(pairs: PackedPairs) -> torch.Tensor:
    """Return [D]: what to multiply features by so that all have one mean square, and a difference has length about 1.

    Features that never differ get 0 and so no part in any direction.
    """
    mean_square = pairs.mean_square()
    alive = mean_square > 0
    scale = torch.where(alive, mean_square.clamp_min(torch.finfo(torch.float32).tiny).rsqrt(), 0.0)
    return scale.div(max(1, int(alive.sum())) ** 0.5)


def fit_shared(
    pairs: PackedPairs, strength: float, target: torch.Tensor, start: torch.Tensor | None = None, steps: int = MAX_STEPS
) -> Fit:
    """Fit the one direction [D] of rank 1: convex, so the start decides only the time."""
    ones = torch.ones(pairs.n_users, 1)
    pair_weight = judgement_weight(pairs)

    def objective(theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        data = negative_log_likelihood(pairs, theta[None], ones, pair_weight)
        off = theta - target
        return data.loss + strength * off.dot(off), data.basis[0] + 2 * strength * off

    theta, taken = minimise(objective, target if start is None else start, steps, _SHARED_TOLERANCE)
    return Fit(theta, theta.new_zeros(0, len(theta)), theta.new_zeros(pairs.n_users, 0), taken)


def fit_personal(pairs: PackedPairs, strength: float, start: Fit, steps: int = MAX_STEPS) -> Fit:
    """Fit the deviations from `start.shared`, which stays; `start` is `spectral_start` or an earlier fit."""
    n_users, dimension, rank = pairs.n_users, len(start.shared), len(start.directions)
    if rank == 0:
        return start
    pair_weight = judgement_weight(pairs)
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

    # Only the product of directions and deviations matters to the data: begin where the two penalties balance.
    spread = start.deviations.square().sum(dim=0).clamp_min(1e-12)
    size = (user_strength * spread / strength) ** 0.25
    begin = torch.cat([(start.directions * size[:, None]).flatten(), (start.deviations / size).flatten()])
    x, taken = minimise(objective, begin, steps, _PERSONAL_TOLERANCE)
    directions, deviations = torch.split(x, sizes)
    return principal(Fit(start.shared, directions.view(rank, dimension), deviations.view(n_users, rank), taken))


def spectral_start(pairs: PackedPairs, shared: Fit, rank: int) -> Fit:
    """Start the deviations along the leading singular vectors of the users' own gradients at the shared direction."""
    margin = pairs.project(shared.basis)[:, 0]
    left, singular, right = _differing_gradients(pairs, torch.sigmoid(-margin) * judgement_weight(pairs), rank - 1)
    kept = min(rank - 1, int((singular > _NO_DIRECTION * singular.max()).sum()))
    deviations = left[:, :kept] * singular[:kept]
    # Only the start's direction matters: its size is set to a fraction of the shared direction's, which is 0 where
    # people's tastes cancel out; a start at 0 could not leave it.
    size = (
        0.1 * shared.shared.norm().clamp_min(_SHORTEST) / deviations.square().sum(dim=1).mean().sqrt().clamp_min(1e-12)
    )
    return principal(replace(shared, directions=right[:kept], deviations=deviations * size))


def _differing_gradients(
    pairs: PackedPairs, pull: torch.Tensor, rank: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the leading singular vectors and values of users' gradients [N, D] less their mean: `rank`, or some more.

    A user's gradient is the sum of `pull` [n] times the difference over their pairs. Of very many users the matrix is
    not held: subspace iteration from random directions asks only for its products with a few vectors (Halko,
    Martinsson and Tropp 2011, arXiv 0909.4061, algorithms 4.4 and 5.1).

    Returns
    -------
    tuple
        With R at least `rank`, or all there are: of users [N, R], values [R], of features [R, D].
    """
    dimension = pairs.matrix.shape[1]
    if pairs.n_users * dimension <= _HELD:
        gradients = pairs.pull_back_by_user(pull)
        left, singular, right = torch.linalg.svd(gradients - gradients.mean(dim=0), full_matrices=False)
        return left, singular, right
    some = min(rank + _MORE_DIRECTIONS, pairs.n_users, dimension)
    # Nothing is drawn for each user: their order changes nothing.
    directions = torch.randn(some, dimension, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for _ in range(_ROUNDS):
        along = pairs.sum_by_user(pairs.project(directions.float()).mul_(pull[:, None])).double()
        users = torch.linalg.qr(along - along.mean(dim=0)).Q
        # Centred again: where users differ along fewer directions, the rest of Q is arbitrary.
        of_pairs = pairs.of_pairs((users - users.mean(dim=0)).float()).mul_(pull[:, None])
        features = torch.linalg.qr(pairs.pull_back(of_pairs).double().t())
        directions = features.Q.t()
    left, singular, right = torch.linalg.svd(features.R.t())
    return users @ left, singular, right @ directions


def judgement_weight(pairs: PackedPairs) -> torch.Tensor:
    """Return [n], summing to 1: each judgement counts once, whoever made it.

    This is the likelihood. The published mean over users gives the few answers of an occasional user as much weight as
    the many of a regular one; that costs accuracy on both, and the evaluation's mean over users does not call for it.
    """
    return (pairs.count / pairs.count.sum()).float()


def principal(fit: Fit) -> Fit:
    """Rotate to orthonormal directions in order of spread, drop those without any, and fix their signs."""
    if fit.directions.shape[0] == 0:
        return fit
    users = torch.linalg.qr(fit.deviations.double())
    features = torch.linalg.qr(fit.directions.double().t())
    left, singular, right = torch.linalg.svd(users.R @ features.R.t())
    typical = singular / len(fit.deviations) ** 0.5
    kept = typical > _NEGLIGIBLE * float(fit.shared.norm().clamp_min(_SHORTEST))
    directions = (features.Q @ right.t())[:, : len(singular)][:, kept].t()
    deviations = (users.Q @ left)[:, : len(singular)][:, kept] * singular[kept]
    largest = directions.abs().argmax(dim=1, keepdim=True)
    sign = directions.gather(1, largest).sign()
    return replace(fit, directions=(directions * sign).float(), deviations=(deviations * sign[:, 0]).float())


def minimise(
    objective: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
    start: torch.Tensor,
    steps: int,
    tolerance: float,
) -> tuple[torch.Tensor, int]:
    """Minimise by L-BFGS; value and gradient in float32, the line search's arithmetic in float64."""
    import numpy as np
    from scipy.optimize import minimize
    from threadpoolctl import threadpool_limits

    def evaluate(x: np.ndarray) -> tuple[float, np.ndarray]:
        loss, gradient = objective(torch.from_numpy(x).float())
        return float(loss), gradient.double().numpy()

    options = {"maxiter": steps, "ftol": tolerance, "gtol": 1e-8, "maxcor": 20}
    # SciPy's BLAS threads would spin on the cores that torch computes on: with both, everything runs 7 times slower.
    with threadpool_limits(limits=1, user_api="blas"), torch_on_one_thread():
        found = minimize(evaluate, start.double().numpy(), jac=True, method="L-BFGS-B", options=options)  # type: ignore[call-overload]
    return torch.from_numpy(found.x).float(), int(found.nit)
