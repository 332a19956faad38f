"""Means, standard errors and intervals: by hand where that is easy, by simulation where it is not."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from lorerm.data.clustering import Sample
from lorerm.evaluation.intervals import ACCURACY, DIFFERENCE, estimate
from lorerm.training.adaptation import adapt
from lorerm.training.config import TrainingConfig
from lorerm.training.train import train_ranks


def sample_of(user, prompt=None, weights=None):
    user = np.asarray(user)
    weights = np.ones(len(user)) if weights is None else np.asarray(weights, dtype=float)
    prompt = np.arange(len(user)) if prompt is None else np.asarray(prompt)
    return Sample(user, prompt, weights / np.bincount(user, weights=weights)[user])


def one(values, sample, bounds=(-np.inf, np.inf)):
    (found,) = estimate(np.asarray(values, dtype=float)[:, None], sample, bounds)
    return found


def test_an_estimate_by_hand():
    """Four users with two comparisons each on prompts of their own: the interval is Student's, over users."""
    found = one([0, 1, 1, 1, 1, 0.5, 1, 0.5], sample_of([0, 0, 1, 1, 2, 2, 3, 3]))
    std = np.sqrt(0.125 / 3)
    reach = stats.t.ppf(0.975, 3) * std / 2
    assert found.mean == 0.75
    assert found.std == pytest.approx(std)
    assert found.stderr == found.stderr_two_way == pytest.approx(std / 2)
    assert found.ci95 == pytest.approx((0.75 - reach, 0.75 + reach))
    assert (found.n_users, found.n_comparisons, found.n_prompts) == (4, 8, 8)


def test_shared_prompts_by_hand():
    """Two users on the same three prompts: variance over users, plus over prompts, minus over meetings."""
    values = np.array([1, 0, 0, 1, 1, 0], dtype=float)
    found = one(values, sample_of([0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2]))
    pull = (values - 0.5).reshape(2, 3) / 6
    users, prompts, single = (
        2 / 1 * (pull.sum(axis=1) ** 2).sum(),
        3 / 2 * (pull.sum(axis=0) ** 2).sum(),
        6 / 5 * (pull**2).sum(),
    )
    assert prompts > single
    assert found.stderr == pytest.approx(np.sqrt(users))
    assert found.stderr_two_way == pytest.approx(np.sqrt(2 * (users + prompts - single)))
    assert found.ci95[1] - found.mean == pytest.approx(stats.t.ppf(0.975, 1) * found.stderr_two_way)


def test_intervals_end_at_the_possible_values():
    two_users = sample_of([0, 1])
    assert one([0, 1], two_users).ci95 == pytest.approx(
        (0.5 - stats.t.ppf(0.975, 1) / 2, 0.5 + stats.t.ppf(0.975, 1) / 2)
    )
    assert one([0, 1], two_users, ACCURACY).ci95 == (0, 1)
    assert one([0, 1], two_users, DIFFERENCE).ci95 == (-1, 1)
    assert one([0.5, 0.51], two_users, ACCURACY) == one([0.5, 0.51], two_users)


def test_weights_count_within_their_user():
    sample = sample_of([0, 0, 1], weights=[3, 1, 9])
    assert one([1, 0, 0], sample).mean == pytest.approx(0.375)
    assert sample.by_user(np.array([[1.0], [0.0], [0.0]]))[:, 0].tolist() == [0.75, 0]


def test_one_user_has_a_mean_and_no_standard_error():
    found = one([0, 1], sample_of([0, 0]))
    assert (found.mean, found.stderr, found.stderr_two_way, found.std, found.ci95) == (0.5, None, None, None, None)


def test_one_prompt_adds_no_variance_over_prompts():
    found = one([0, 1, 1], sample_of([0, 1, 2], [0, 0, 0]))
    assert found.stderr_two_way == found.stderr


def test_equal_users_have_no_spread():
    found = one(np.full(5, 0.75), sample_of(range(5)))
    assert (found.stderr, found.ci95) == (0, (0.75, 0.75))


def test_figures_do_not_depend_on_each_other():
    rng = np.random.default_rng(0)
    sample = sample_of(np.repeat(np.arange(6), 5), np.tile(np.arange(5), 6))
    values = rng.random((30, 3))
    together = estimate(values, sample, (-np.inf, np.inf))
    assert together == [one(column, sample) for column in values.T]


@pytest.mark.parametrize("hard", [0.0, 1.0])
def test_intervals_cover_the_truth_at_their_nominal_rate(hard):
    """400 experiments of 30 users on 30 shared prompts, of equal or of very different difficulty."""
    rng = np.random.default_rng(1)

    def chance(user, prompt):
        return 1 / (1 + np.exp(-0.8 - 0.5 * user - hard * prompt))

    truth = chance(rng.standard_normal((4000, 1)), rng.standard_normal((1, 2000))).mean()
    user, prompt = np.repeat(np.arange(30), 10), np.concatenate([rng.permutation(30)[:10] for _ in range(30)])
    hits, over_users = 0, 0
    for _ in range(400):
        chances = chance(rng.standard_normal(30)[user], rng.standard_normal(30)[prompt])
        found = one(rng.random(300) < chances, sample_of(user, prompt))
        hits += found.ci95[0] <= truth <= found.ci95[1]
        over_users += abs(found.mean - truth) <= stats.t.ppf(0.975, 29) * found.stderr
    assert 0.92 < hits / 400 < 0.98
    if hard:
        assert over_users / 400 < 0.88  # what users alone would have said


@pytest.mark.slow
def test_intervals_cover_the_truth_of_a_fitted_model():
    """A smaller `benchmarks/coverage.py`: one fitted model, 100 groups of new users on prompts they share."""
    world_of = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "coverage.py"))
    rng = np.random.default_rng(5)
    world, people, rank = world_of["World"](rng), world_of["People"], world_of["RANK"]
    shape = (world_of["TRAIN_PROMPTS"], world_of["TRAIN_PAIRS"])
    seen = people.draw(rng, world.tastes(world_of["USERS"]), *shape)
    models = dict(train_ranks(seen.data(), [1, rank], TrainingConfig()))
    truth = np.mean([world_of["fresh_group"](world, models, rng) for _ in range(40)], axis=0)
    assert truth[1] > 0.02, "the model is personal"
    hits = {"users x prompts, t (lorerm)": [], "users, bootstrap": []}
    for _ in range(100):
        tastes = world.tastes(world_of["USERS"])
        weights = world_of["weights_of"](adapt(models[rank], people.draw(rng, tastes, *shape).data()))
        found = world_of["intervals_of"](models, tastes, weights, rng)
        for method, rows in hits.items():
            rows.append((found[method][:, 0] <= truth) & (truth <= found[method][:, 1]))
    cover = {method: np.mean(rows, axis=0) for method, rows in hits.items()}
    assert (cover["users x prompts, t (lorerm)"] > 0.88).all()
    assert (cover["users x prompts, t (lorerm)"] < 0.995).all()
    assert (cover["users, bootstrap"] < 0.9).any(), "what users alone would have said"
