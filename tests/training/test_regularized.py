"""Fits at given strengths: minima, spectral starts, orthonormal directions, and feature scales."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from lorerm.training import regularized
from lorerm.training.pairs import PackedPairs
from lorerm.training.regularized import Fit
from planted import plant


@pytest.fixture(scope="module")
def pairs():
    """Scaled comparisons of 12 users, of unequal number and weight, with two personal directions among 10 features."""
    data = plant(users=12, pairs=35, dimension=10, personal=2, noise=0.5, prompts=400).data
    rng = np.random.default_rng(0)
    data = replace(data, weights=rng.uniform(0.3, 2, len(data))).select(np.sort(rng.permutation(len(data))[:300]))
    packed = PackedPairs.pack(data, differences=True)
    return replace(packed, matrix=packed.matrix * regularized.feature_scale(packed))


def penalised(pairs, strength, shared, directions, deviations):
    """Return the second stage's objective as the module states it, in float64."""
    n = pairs.count.sum()
    margin = (pairs.matrix.double() * (shared + deviations @ directions)[pairs.user]).sum(dim=1)
    loss = -(pairs.count * torch.nn.functional.logsigmoid(margin)).sum() / n
    return loss + strength * directions.square().sum() + deviations.square().sum() / (2 * n)


def balanced(pairs, strength, fit):
    """Return shared, directions and deviations in float64, rescaled so that the sum of the penalties is least.

    The fit's directions have norm 1, and the likelihood depends on the product alone.
    """
    total = fit.deviations.double().square().sum(dim=0)
    size = (total / (2 * pairs.count.sum() * strength)) ** 0.25
    return fit.shared.double(), fit.directions.double() * size[:, None], fit.deviations.double() / size


@pytest.mark.parametrize("strength", [1e-1, 1e-2, 1e-3])
def test_the_shared_fit_is_a_ridge_logistic_regression(pairs, strength):
    """scikit-learn minimises C times the sum of losses plus half the square, here with both signs of differences."""
    found = regularized.fit_shared(pairs, strength, torch.zeros(10))
    features = pairs.matrix.numpy().astype(np.float64)
    weight = (pairs.count / pairs.count.sum()).numpy()
    regression = LogisticRegression(fit_intercept=False, C=1 / (4 * strength), tol=1e-10, max_iter=5000)
    regression.fit(
        np.concatenate([features, -features]),
        np.repeat([1, 0], len(features)),
        sample_weight=np.concatenate([weight, weight]),
    )
    expected = regression.coef_[0]
    np.testing.assert_allclose(found.shared.numpy(), expected, atol=0.01 * np.linalg.norm(expected))


def test_the_start_of_a_convex_problem_does_not_matter(pairs):
    one = regularized.fit_shared(pairs, 1e-2, torch.zeros(10)).shared
    other = regularized.fit_shared(pairs, 1e-2, torch.zeros(10), start=10 * torch.ones(10)).shared
    torch.testing.assert_close(one, other, rtol=0, atol=0.01 * float(one.norm()))


def test_a_strong_penalty_falls_back_to_the_target(pairs):
    target = torch.linspace(-1, 1, 10)
    found = regularized.fit_shared(pairs, 1e5, target).shared
    torch.testing.assert_close(found, target, rtol=0, atol=1e-4)
    free = regularized.fit_shared(pairs, 1e-3, target).shared
    assert float((free - target).norm()) > 0.5


def test_a_strong_personal_penalty_leaves_the_shared_direction_alone(pairs):
    shared = regularized.fit_shared(pairs, 1e-2, torch.zeros(10))
    found = regularized.fit_personal(pairs, 1e4, regularized.spectral_start(pairs, shared, 3))
    assert float((found.deviations @ found.directions).norm(dim=1).max()) < 1e-3 * float(shared.shared.norm())
    assert torch.equal(found.shared, shared.shared)


@pytest.mark.parametrize(("rank", "strength"), [(2, 1e-3), (3, 1e-3), (4, 1e-2), (3, 1e-4)])
def test_the_personal_fit_is_stationary_and_better_than_its_start(pairs, rank, strength, monkeypatch):
    """With a tight tolerance."""
    monkeypatch.setattr(regularized, "_PERSONAL_TOLERANCE", 1e-7)
    shared = regularized.fit_shared(pairs, 1e-2, torch.zeros(10))
    start = regularized.spectral_start(pairs, shared, rank)
    found = regularized.fit_personal(pairs, strength, start)

    def value_and_slope(fit):
        theta, *parts = balanced(pairs, strength, fit)
        parts = [part.requires_grad_() for part in parts]
        value = penalised(pairs, strength, theta, *parts)
        return float(value.detach()), max(float(part.norm()) for part in torch.autograd.grad(value, parts))

    value, slope = value_and_slope(found)
    before, before_slope = value_and_slope(start)
    alone = float(
        penalised(pairs, strength, shared.shared.double(), torch.zeros(0, 10).double(), torch.zeros(12, 0).double())
    )
    assert torch.equal(found.shared, shared.shared)
    assert slope < 0.01 * before_slope
    assert value < min(before, alone) - 1e-3


@pytest.mark.parametrize("strength", [1e-2, 1e-3, 1e-4])
def test_the_default_tolerance_ends_near_the_minimum(pairs, strength, monkeypatch):
    """Reward differences are within 3% of those of a converged fit."""
    start = regularized.spectral_start(pairs, regularized.fit_shared(pairs, 1e-2, torch.zeros(10)), 3)
    found = regularized.fit_personal(pairs, strength, start)
    monkeypatch.setattr(regularized, "_PERSONAL_TOLERANCE", 1e-9)
    converged = regularized.fit_personal(pairs, strength, start)
    assert converged.iterations > found.iterations
    rewards = [(pairs.matrix * (fit.deviations @ fit.directions)[pairs.user]).sum(dim=1) for fit in (found, converged)]
    assert float((rewards[0] - rewards[1]).norm()) < 0.03 * float(rewards[1].norm())


def test_a_start_from_a_stronger_penalty_gives_the_same_fit(pairs):
    shared = regularized.fit_shared(pairs, 1e-2, torch.zeros(10))
    start = regularized.spectral_start(pairs, shared, 3)
    cold = regularized.fit_personal(pairs, 1e-3, start)
    warm = regularized.fit_personal(pairs, 1e-3, regularized.fit_personal(pairs, 1e-2, start))
    theta = [fit.deviations @ fit.directions for fit in (cold, warm)]
    torch.testing.assert_close(*theta, rtol=0, atol=0.02 * float(theta[0].abs().max()))


def test_rank_one_has_no_deviations(pairs):
    shared = regularized.fit_shared(pairs, 1e-2, torch.zeros(10))
    start = regularized.spectral_start(pairs, shared, 1)
    assert regularized.fit_personal(pairs, 1e-3, start).basis.shape == (1, 10)


def test_the_planted_directions_are_found():
    """The span of the personal directions, and each user's deviation."""
    planted = plant(users=40, pairs=120, dimension=12, personal=2, noise=0.2, prompts=3000)
    packed = PackedPairs.pack(planted.data)
    pairs = packed.with_scale(regularized.feature_scale(packed))
    shared = regularized.fit_shared(pairs, 1e-3, torch.zeros(12))
    truth = torch.from_numpy(planted.directions).float()

    def overlap(fit):
        """Return the cosine of the largest angle between the two spans; equal feature scales leave spans unchanged."""
        return float(torch.linalg.svdvals(fit.directions @ truth.t()).min())

    start = regularized.spectral_start(pairs, shared, 3)
    assert overlap(start) > 0.8
    found = regularized.fit_personal(pairs, 1e-4, start)
    assert overlap(found) > 0.9
    order = [int(user.split()[1]) for user in pairs.user_ids]
    theta = (found.deviations @ found.directions).numpy()
    expected = (planted.deviations @ planted.directions)[order]
    cosine = (theta * expected).sum(axis=1) / np.linalg.norm(theta, axis=1) / np.linalg.norm(expected, axis=1)
    assert np.median(cosine) > 0.9


def test_the_spectral_start_has_mean_deviation_zero(pairs):
    shared = regularized.fit_shared(pairs, 1e-2, torch.zeros(10))
    start = regularized.spectral_start(pairs, shared, 4)
    assert start.deviations.shape == (12, 3)
    torch.testing.assert_close(start.deviations.mean(dim=0), torch.zeros(3), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dense", [True, False])
def test_the_spectral_start_of_few_users_has_mean_deviation_zero(dense, monkeypatch):
    """Four users differ along at most three directions; the much larger common gradient is not one of them."""
    monkeypatch.setattr(regularized, "_MAX_DENSE_SVD_ELEMENTS", 2**26 if dense else 0)
    packed = PackedPairs.pack(plant(users=4, pairs=40, dimension=10, personal=0.3).data)
    pairs = packed.with_scale(regularized.feature_scale(packed))
    start = regularized.spectral_start(pairs, regularized.fit_shared(pairs, 1e2, torch.zeros(10)), 4)
    assert float(start.deviations.mean(dim=0).norm()) < 1e-3 * float(start.deviations.norm())


def many_noisy_users(personal, storage):
    """Return scaled comparisons of users who differ along two of 150 directions, with noise along the others."""
    data = plant(users=120, pairs=60, dimension=150, personal=personal, noise=0.1, prompts=4000).data
    packed = PackedPairs.pack(data, differences=storage)
    return packed.with_scale(regularized.feature_scale(packed))


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("storage", [True, False])
def test_the_spectral_start_has_the_leading_singular_vectors_of_the_users_gradients(storage, dense, monkeypatch):
    """Two planted directions: the spectrum has a gap after them, then is nearly flat."""
    monkeypatch.setattr(regularized, "_MAX_DENSE_SVD_ELEMENTS", 2**26 if dense else 0)
    pairs = many_noisy_users(2, storage)
    shared = regularized.fit_shared(pairs, 1e-3, torch.zeros(150))
    start = regularized.spectral_start(pairs, shared, 3)
    literal = many_noisy_users(2, True)
    pull = torch.sigmoid(-literal.project(shared.basis)[:, 0]) / len(literal)
    differences = literal.matrix * literal.scale * pull[:, None]
    gradients = torch.zeros(120, 150).index_add_(0, literal.user, differences).double()
    left, singular, right = torch.linalg.svd(gradients - gradients.mean(dim=0), full_matrices=False)
    assert singular[1] > 1.5 * singular[2]
    expected, found = left[:, :2] * singular[:2] @ right[:2], (start.deviations @ start.directions).double()
    cosine = (expected * found).sum() / expected.norm() / found.norm()
    assert float(cosine) > 0.999


def test_the_spectral_start_does_not_depend_on_the_order_of_users(monkeypatch):
    """Also where all differences are noise, so that the random start of the subspace iteration matters."""
    monkeypatch.setattr(regularized, "_MAX_DENSE_SVD_ELEMENTS", 0)
    pairs = many_noisy_users(0, storage=True)
    order = torch.from_numpy(np.random.default_rng(0).permutation(pairs.n_users))
    rows = torch.cat([torch.nonzero(pairs.user == user)[:, 0] for user in order])
    moved = replace(pairs, matrix=pairs.matrix[rows], user=order.argsort()[pairs.user[rows]], count=pairs.count[rows])
    shared = regularized.fit_shared(pairs, 1e-3, torch.zeros(150))
    one, other = (regularized.spectral_start(some, shared, 4) for some in (pairs, moved))
    torch.testing.assert_close(other.directions, one.directions, rtol=0, atol=1e-3)
    torch.testing.assert_close(
        other.deviations, one.deviations[order], rtol=0, atol=1e-3 * float(one.deviations.norm())
    )


def test_opposite_preferences_have_a_start():
    """The shared direction is 0, and deviations of size 0 would be stationary."""
    rng = np.random.default_rng(0)
    matrix = torch.from_numpy(rng.standard_normal((30, 4))).float()
    data = plant(users=2, pairs=30, dimension=4).data
    pairs = replace(PackedPairs.pack(data, differences=True), matrix=torch.cat([matrix, -matrix]))
    shared = regularized.fit_shared(pairs, 0.1, torch.zeros(4))
    assert float(shared.shared.norm()) < 1e-6
    start = regularized.spectral_start(pairs, shared, 2)
    assert len(start.directions) == 1
    assert float(start.deviations.abs().min()) > 1e-3


def test_scaled_features_have_equal_mean_square_and_differences_root_mean_square_norm_one(pairs):
    torch.testing.assert_close(pairs.mean_square(), torch.full((10,), 0.1), rtol=1e-4, atol=0)


@pytest.mark.parametrize("stored", [True, False])
def test_features_that_never_differ_are_excluded(stored):
    data = plant(users=4, pairs=20, dimension=6).data
    responses = data.responses.copy()
    responses[:, [1, 4]] = [0.0, 1e4 / 3]
    packed = PackedPairs.pack(replace(data, responses=responses), differences=stored)
    scale = regularized.feature_scale(packed)
    assert (scale == 0).tolist() == [False, True, False, False, True, False]
    assert scale.isfinite().all()
    assert float(packed.with_scale(scale).mean_square().sum()) == pytest.approx(1, rel=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 8), st.integers(0, 5), st.integers(1, 8), st.integers(0, 99))
def test_principal_keeps_the_product_of_deviations_and_directions(n_users, rank, dimension, seed):
    generator = torch.Generator().manual_seed(seed)
    fit = Fit(
        torch.zeros(dimension),
        torch.randn(rank, dimension, generator=generator),
        torch.randn(n_users, rank, generator=generator),
        1,
    )
    found = regularized.principal(fit)
    kept = len(found.directions)
    assert kept <= min(n_users, rank, dimension)
    torch.testing.assert_close(
        found.deviations @ found.directions, fit.deviations @ fit.directions, rtol=1e-3, atol=1e-3
    )
    torch.testing.assert_close(found.directions @ found.directions.t(), torch.eye(kept), rtol=0, atol=1e-5)
    variance = found.deviations.square().sum(dim=0)
    assert (variance[:-1] >= variance[1:] * (1 - 1e-4)).all()
    assert (found.directions.gather(1, found.directions.abs().argmax(dim=1, keepdim=True)) > 0).all()


def test_directions_with_negligible_deviations_are_dropped():
    fit = Fit(torch.zeros(3), torch.eye(3)[:2], torch.tensor([[1.0, 1e-7], [-1.0, 0.0]]), 1)
    found = regularized.principal(fit)
    torch.testing.assert_close(found.directions, torch.tensor([[1.0, 0.0, 0.0]]))
    none = regularized.principal(replace(fit, deviations=torch.zeros(2, 2)))
    assert none.basis.shape == (1, 3)


def test_steps_bound_the_iterations(pairs):
    assert regularized.fit_shared(pairs, 1e-4, torch.zeros(10), steps=3).iterations == 3
    assert regularized.fit_shared(pairs, 1e-2, torch.zeros(10)).iterations < regularized.MAX_STEPS
