"""Few-shot curves: nested histories, the same weights as plain adaptation, and no shots the shared direction."""

import numpy as np
import pytest
import torch

from lorerm.data.splits import split
from lorerm.errors import ConfigError, DataError
from lorerm.evaluation.accuracy import Cell
from lorerm.evaluation.few_shot import _clear_from, _History, _weights, shots_curve
from lorerm.evaluation.few_shot_config import ShotsConfig
from lorerm.training.adaptation import adapt
from lorerm.training.config import AdaptationConfig, TrainingConfig
from lorerm.training.train import train
from planted import plant

THREE = ShotsConfig(trials=3)


@pytest.fixture(scope="module")
def curve(models, cells):
    return shots_curve(models[3], cells, [2, 5, 1000], THREE)


def test_none_is_the_shared_direction_and_all_is_plain_adaptation(curve, measured):
    assert [point["shots"] for point in curve["points"]] == [0, 2, 5, 1000]
    shared, own = (measured.accuracies(3, weights)["test_unseen"] for weights in ("shared_direction", "own"))
    for point, expected in ((curve["points"][0], shared), (curve["points"][-1], own)):
        assert point["mean"] == pytest.approx(expected["mean"])
        assert point["stderr"] == pytest.approx(expected["stderr"])
    assert curve["points"][0]["gain"]["ci95"] == [0, 0]
    assert [point["n_users_with"] for point in curve["points"]] == [9, 9, 9, 0]


def test_a_gain_is_clear_only_from_a_number_of_answers_that_somebody_has():
    reached, beyond = (
        {"shots": shots, "n_users_with": n_users, "gain": {"ci95": interval}}
        for shots, n_users, interval in ((5, 9, (0.01, 0.2)), (1000, 0, (0.02, 0.3)))
    )
    none = {"shots": 0, "n_users_with": 9, "gain": {"ci95": (0.0, 0.0)}}
    assert _clear_from([none, reached, beyond]) == 5
    assert _clear_from([none, beyond]) is None


def test_samples_are_nested(cells):
    answers = Cell.pack(cells.train_unseen)
    position = _History.draw(answers, THREE).position
    for row in position:
        for user in range(len(answers.user_ids)):
            own = row[answers.sample.user == user]
            assert sorted(own) == list(range(len(own)))
    assert len({tuple(row) for row in position}) == 3


def test_a_batch_of_trials_gives_the_weights_of_single_users(models, cells):
    """The first 4 answers of one user in the second trial, adapted alone."""
    model, answers = models[3], Cell.pack(cells.train_unseen)
    history = _History.draw(answers, THREE)
    weights = list(_weights(model, answers, history, 4, AdaptationConfig()))[1]
    user = 2
    mine = np.flatnonzero((answers.sample.user == user) & (history.position[1] < 4))
    alone = adapt(model, cells.train_unseen.select(answers.pairs.order[mine]))
    torch.testing.assert_close(alone.weights[0], weights[user], atol=1e-5, rtol=1e-4)


def test_blocks_of_trials_change_nothing(models, cells, monkeypatch, curve):
    monkeypatch.setattr("lorerm.evaluation.few_shot._BLOCK_ANSWERS", 1)
    assert shots_curve(models[3], cells, [2, 5, 1000], THREE) == curve


def test_more_answers_help_people_with_strong_tastes(models, cells):
    curve = shots_curve(models[3], cells, [1, 20], ShotsConfig(trials=5))
    means = [point["mean"] for point in curve["points"]]
    assert means[0] < means[1] < means[2]


def test_examples_are_people_with_their_curves(curve, cells):
    assert 0 < len(curve["examples"]) <= 6
    for person in curve["examples"]:
        assert len(person["accuracy"]) == 4
        assert person["user_id"] in cells.test_unseen.user_ids


def test_the_published_adaptation_is_swept_too():
    cells = split(plant(users=12, pairs=16, dimension=6, prompts=40).data)
    model = train(cells.train_seen, TrainingConfig(rank=2, recipe="paper", steps=30))
    published = AdaptationConfig(recipe="paper", steps=40, seed=3)
    curve = shots_curve(model, cells, [1000], ShotsConfig(trials=1), adaptation=published)
    whole = adapt(model, cells.train_unseen, published)
    cell = Cell.pack(cells.test_unseen)
    right = cell.right(cell.project(model.basis), cell.weights_of(model.with_users(whole)))
    assert curve["points"][1]["mean"] == pytest.approx(cell.sample.by_user(right[:, None]).mean())


def test_bad_input_is_refused(models, cells):
    with pytest.raises(ConfigError, match="-1 shots"):
        shots_curve(models[2], cells, [-1, 3])
    for bad in ({"trials": 0}, {"seed": -1}):
        with pytest.raises(ConfigError):
            ShotsConfig(**bad)
    nobody = split(plant(users=6, pairs=20, dimension=6, prompts=60).data, unseen_users=0)
    with pytest.raises(DataError, match="no unseen users"):
        shots_curve(models[2], nobody)
