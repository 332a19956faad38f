"""Standard errors over users and prompts; `tests/evaluation/test_intervals.py` compares the intervals with formulas."""

import numpy as np

from lorerm.data.clustering import Sample, mean_over_users


def test_shared_prompts_widen_the_two_way_error_alone():
    rng = np.random.default_rng(0)
    user, prompt = np.repeat(np.arange(30), 20), np.tile(np.arange(20), 30)
    values = rng.normal(size=20)[prompt][:, None] + 0.1 * rng.normal(size=(600, 1))
    shared = mean_over_users(values, Sample(user, prompt, np.full(600, 1 / 20)))
    own = mean_over_users(values, Sample(user, np.arange(600), np.full(600, 1 / 20)))
    assert shared.mean == own.mean
    np.testing.assert_allclose(shared.mean, values.mean())
    assert shared.two_way[0] > 5 * shared.over_users[0]
    assert own.two_way == own.over_users == shared.over_users
    assert (shared.degrees, own.degrees) == (19, 29)


def test_a_single_user_has_no_standard_error():
    found = mean_over_users(np.ones((4, 2)), Sample(np.zeros(4, int), np.arange(4), np.full(4, 0.25)))
    assert found.mean.tolist() == [1, 1]
    assert np.isnan(found.two_way).all()
