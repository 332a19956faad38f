"""Few-shot curve: nested samples, the weights of plain adaptation, and the shared direction at n_shots = 0."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from lorerm.data.splits import split
from lorerm.errors import ConfigError, DataError
from lorerm.evaluation.few_shot import FewShotConfig, _clear_from, _draw_orders, _weights, few_shot_curve
from lorerm.evaluation.report import Estimate, FewShotPoint
from lorerm.training.adaptation import adapt
from lorerm.training.config import AdaptationConfig, TrainingConfig
from lorerm.training.pairs import PackedPairs
from lorerm.training.train import train
from planted import mean_accuracy, plant
from refusals import refused

THREE = FewShotConfig(trials=3)


@pytest.fixture(scope="module")
def curve(models, splits):
    return few_shot_curve(models[3], splits, [2, 5, 1000], THREE)


def test_none_is_the_shared_direction_and_all_is_plain_adaptation(curve, predictions):
    assert [point.n_shots for point in curve.points] == [0, 2, 5, 1000]
    shared, own = (predictions.accuracies(3, weights)["test_unseen"] for weights in ("shared_direction", "own"))
    for point, expected in ((curve.points[0], shared), (curve.points[-1], own)):
        assert point.accuracy.mean == pytest.approx(expected.mean)
        assert point.accuracy.stderr == pytest.approx(expected.stderr)
    assert curve.points[0].gain.ci95 == (0, 0)
    assert [point.n_users_with for point in curve.points] == [9, 9, 9, 0]
    assert (curve.rank, curve.trials, curve.n_users) == (3, 3, 9)


def test_a_gain_is_clear_only_from_a_number_of_comparisons_that_some_user_has():
    def point(n_shots, n_users_with, ci95):
        estimate = Estimate(mean=0.1, stderr=0.1, ci95=ci95, n_users=9)
        return FewShotPoint(n_shots, n_users_with, estimate, 0.0, estimate)

    none, open_ = point(0, 9, (0.0, 0.0)), point(2, 9, (-0.01, 0.2))
    reached, beyond = point(5, 9, (0.01, 0.2)), point(1000, 0, (0.02, 0.3))
    assert _clear_from([none, open_, reached, beyond]) == 5
    assert _clear_from([none, reached, open_]) is None, "clear at 5 and no longer at more"
    assert _clear_from([none, beyond]) is None


def test_samples_are_nested(splits):
    user = PackedPairs.pack(splits.train_unseen).user.numpy()
    orders = _draw_orders(user, THREE)
    for position in orders:
        for one in range(user.max() + 1):
            own = position[user == one]
            assert sorted(own) == list(range(len(own)))
    assert len({tuple(position) for position in orders}) == 3


def test_a_batch_of_trials_gives_the_weights_of_single_users(models, splits):
    """The first 4 comparisons of one user in the second trial, adapted alone."""
    model, given = models[3], PackedPairs.pack(splits.train_unseen)
    orders = _draw_orders(given.user.numpy(), THREE)
    weights = list(_weights(model, given, orders, 4, AdaptationConfig()))[1]
    user = 2
    own = np.flatnonzero((given.user.numpy() == user) & (orders[1] < 4))
    alone = adapt(model, splits.train_unseen.select(given.order[own]))
    torch.testing.assert_close(alone.weights[0], weights[user], atol=1e-5, rtol=1e-4)


def test_blocks_of_trials_change_nothing(models, splits, monkeypatch, curve):
    monkeypatch.setattr("lorerm.evaluation.few_shot._BLOCK_COMPARISONS", 1)
    assert few_shot_curve(models[3], splits, [2, 5, 1000], THREE) == curve


def test_more_comparisons_help_users_who_differ(models, splits):
    curve = few_shot_curve(models[3], splits, [1, 20], FewShotConfig(trials=5))
    means = [point.accuracy.mean for point in curve.points]
    assert means[0] < means[1] < means[2]


def test_by_default_the_numbers_go_as_far_as_a_user_has_comparisons(models, splits):
    most = max(list(splits.train_unseen.user_ids).count(user) for user in set(splits.train_unseen.user_ids))
    assert 20 <= most < 25
    found = few_shot_curve(models[2], splits, config=FewShotConfig(trials=1))
    assert [point.n_shots for point in found.points] == [0, 1, 2, 5, 10, 15, 20]


def test_examples_are_users_with_their_curves(curve, splits):
    assert 0 < len(curve.examples) <= 6
    gains = [user.accuracy[-1] - user.accuracy[0] for user in curve.examples]
    assert gains == sorted(gains), "from the largest loss to the largest gain"
    for user in curve.examples:
        assert len(user.accuracy) == 4
        assert user.n_fitted == list(splits.train_unseen.user_ids).count(user.user_id)
        assert user.n_test == list(splits.test_unseen.user_ids).count(user.user_id)


def test_the_published_adaptation_has_a_curve_too():
    splits = split(plant(users=12, pairs=16, dimension=6, prompts=40).data)
    model = train(splits.train_seen, TrainingConfig(rank=2, recipe="paper", steps=30))
    published = AdaptationConfig(recipe="paper", steps=40, seed=3)
    curve = few_shot_curve(model, splits, [1000], FewShotConfig(trials=1), adaptation=published)
    adapted = model.with_users(adapt(model, splits.train_unseen, published))
    assert curve.points[1].accuracy.mean == pytest.approx(mean_accuracy(adapted, splits.test_unseen))


def test_bad_input_is_refused(models, splits):
    with refused(ConfigError, "-1", argument="shots"):
        few_shot_curve(models[2], splits, [-1, 3])
    for name, value in (("trials", 0), ("seed", -1)):
        with refused(ConfigError, f"{name} is {value}", argument=name):
            FewShotConfig(**{name: value})
    seen_only = split(plant(users=6, pairs=20, dimension=6, prompts=60).data, unseen_users=0)
    with refused(DataError, "train_unseen"):
        few_shot_curve(models[2], seen_only)


def test_the_settings_load_nothing_heavy():
    """The command's help shows them."""
    code = "import sys, lorerm.evaluation.few_shot; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
