"""Means, standard errors and intervals: by hand where that is easy, by simulation where it is not."""

import json

import numpy as np
import pytest
from scipy import stats

from lorerm.evaluation import intervals
from lorerm.evaluation.intervals import paired_differences, summarise


def test_a_summary_by_hand():
    found = summarise(np.array([0.5, 1.0, 0.75, 0.75]), n_pairs=40)
    std = np.sqrt(0.125 / 3)
    reach = stats.t.ppf(0.975, 3) * std / 2
    assert found.mean == 0.75
    assert found.std == pytest.approx(std)
    assert found.stderr == pytest.approx(std / 2)
    assert found.ci95 == pytest.approx((0.75 - reach, 0.75 + reach))
    assert (found.n_users, found.n_pairs) == (4, 40)


def test_one_user_has_a_mean_and_no_error():
    found = summarise(np.array([0.25]), n_pairs=4)
    assert (found.mean, found.stderr, found.std, found.ci95) == (0.25, None, None, None)
    (difference,) = paired_differences(np.array([[0.25]]), seed=0)
    assert (difference.mean, difference.stderr, difference.ci95, difference.n_users) == (0.25, None, None, 1)


def test_users_who_are_all_alike_have_no_spread():
    found = summarise(np.full(5, 0.75), n_pairs=5)
    assert (found.stderr, found.ci95) == (0, (0.75, 0.75))
    (difference,) = paired_differences(np.zeros((5, 1)), seed=0)
    assert (difference.stderr, difference.ci95) == (0, (0, 0))


def test_both_become_json():
    json.dumps(summarise(np.array([0.5, 1.0]), 4).to_dict(), allow_nan=False)
    found = paired_differences(np.array([[0.5], [1.0]]), 0)[0].to_dict()
    assert json.loads(json.dumps(found))["ci95"] == list(found["ci95"])
    assert set(found) == {"mean", "stderr", "ci95", "n_users"}


def test_a_mean_counts_every_user_once_however_the_interval_is_drawn():
    differences = np.random.default_rng(0).standard_normal((30, 3))
    found = paired_differences(differences, seed=0)
    np.testing.assert_allclose([difference.mean for difference in found], differences.mean(axis=0))
    assert all(d.ci95[0] < d.mean < d.ci95[1] for d in found)


def test_the_bootstrap_error_is_close_to_the_formula():
    differences = np.random.default_rng(1).standard_normal((200, 2)) * [1, 5]
    for found, values in zip(paired_differences(differences, seed=0), differences.T, strict=True):
        assert found.stderr == pytest.approx(values.std() / np.sqrt(200), rel=0.06)
        assert np.subtract(*found.ci95[::-1]) == pytest.approx(2 * 1.96 * found.stderr, rel=0.08)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    """400 simulated experiments of 40 users; the percentile bootstrap is a little narrow at that size."""
    rng = np.random.default_rng(2)
    experiments = rng.standard_normal((40, 400)) + 0.3
    found = paired_differences(experiments, seed=0, resamples=600)
    covered = np.mean([d.ci95[0] <= 0.3 <= d.ci95[1] for d in found])
    assert 0.90 < covered < 0.975
    by_t = np.mean([low <= 0.3 <= high for low, high in (summarise(v, 1).ci95 for v in experiments.T)])
    assert 0.92 < by_t < 0.98


def test_intervals_depend_on_the_seed_alone():
    differences = np.random.default_rng(3).standard_normal((20, 2))
    one, again, other = (paired_differences(differences, seed) for seed in (0, 0, 1))
    assert one == again
    assert one != other
    alone = paired_differences(differences[:, 1:], 0)
    assert alone[0].ci95 == pytest.approx(one[1].ci95)


def test_resamples_in_parts_are_the_same_resamples(monkeypatch):
    differences = np.random.default_rng(4).standard_normal((20, 2))
    whole = paired_differences(differences, 0)
    monkeypatch.setattr(intervals, "_DRAWN_AT_ONCE", 20 * 7)
    parts = paired_differences(differences, 0)
    for one, other in zip(whole, parts, strict=True):
        assert one.ci95 == pytest.approx(other.ci95)
