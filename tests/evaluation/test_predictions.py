"""Predictions: ties, weights within a user, unknown users, exchanged weights; accuracies and differences of ranks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lorerm.data.schema import SPLITS, TEST_SPLITS
from lorerm.data.splits import split
from lorerm.embedding.embedded_preferences import EmbeddedPreferences
from lorerm.evaluation import predictions as module
from lorerm.evaluation.predictions import (
    CONTROLS,
    OWN,
    POPULATION,
    _predict_split,
    correct_with_others,
    is_correct,
    predict,
    project,
    sample_of,
    weights_of,
)
from lorerm.model.prior import WeightPrior
from lorerm.model.reward_model import LowRankRewardModel
from lorerm.training.config import TrainingConfig
from lorerm.training.pairs import PackedPairs
from lorerm.training.train import train_ranks
from planted import plant

# One feature per direction: user "v" likes the first, user "u" dislikes it.
RESPONSES = np.array([[1, 0], [0, 0], [3, 0], [0, 5], [0, 5]], dtype=np.float32)
BASIS = torch.eye(2)


@pytest.fixture
def data():
    """User v: correct (weight 1), wrong (3), tie (1); user u: correct, wrong on the same feature."""
    return EmbeddedPreferences.from_arrays(
        RESPONSES, [0, 1, 3, 1, 2], [1, 2, 4, 0, 1], ["v", "v", "v", "u", "u"], weights=[1, 3, 1, 1, 1]
    )


def accuracy(data, weights, basis=BASIS):
    """Each user's accuracy with their row of the weights."""
    pairs = PackedPairs.pack(data)
    correct = is_correct(pairs, project(pairs, basis), weights)
    return sample_of(pairs, data).by_user(correct[:, None])[:, 0].tolist()


def accuracy_with_others(data, weights, seed=0, basis=BASIS):
    """Each user's accuracy with other users' weights."""
    pairs = PackedPairs.pack(data)
    correct = correct_with_others(pairs, project(pairs, basis), weights, seed)
    return sample_of(pairs, data).by_user(correct[:, None])[:, 0].tolist()


def test_accuracy_by_hand(data):
    """A tie counts one half; weights count within their user."""
    weights = torch.tensor([[1.0, 1.0], [-1.0, 0.0]])
    assert accuracy(data, weights) == pytest.approx([1.5 / 5, 1 / 2])
    assert accuracy(data, -weights) == pytest.approx([3.5 / 5, 1 / 2])
    assert accuracy(data, torch.zeros(2, 2)) == pytest.approx([1 / 2, 1 / 2])
    assert accuracy(data, torch.tensor([1.0, 1.0])) == accuracy(data, torch.ones(2, 2))


def test_users_and_prompts_are_in_the_order_of_the_packed_comparisons():
    data = EmbeddedPreferences.from_arrays(RESPONSES, [0, 1, 2], [1, 2, 0], ["v", "u", "v"], prompt_ids=["p", "q", "q"])
    pairs = PackedPairs.pack(data)
    sample = sample_of(pairs, data)
    assert [pairs.user_ids[user] for user in sample.user] == ["v", "v", "u"]
    assert [["p", "q"][prompt] for prompt in sample.prompt] == ["p", "q", "q"]
    assert sample.share.tolist() == [0.5, 0.5, 1]


def model_of_two_users():
    return LowRankRewardModel(
        basis=BASIS,
        weights=torch.tensor([[9.0, 9.0], [5.0, 6.0]]),
        user_ids=("w", "u"),
        prior=WeightPrior(torch.tensor([1.0, 2.0]).double(), torch.eye(2).double()),
        temperature=1.0,
        requested_rank=2,
    )


def test_users_unknown_to_the_model_have_the_population_weights():
    assert weights_of(model_of_two_users(), ("v", "u")).tolist() == [[1.0, 2.0], [5.0, 6.0]]


def test_no_user_is_scored_with_their_own_weights(data, monkeypatch):
    seen = []

    def record(pairs, projected, weights):
        seen.append(weights[:, 0].tolist())
        return np.zeros(len(pairs))

    monkeypatch.setattr(module, "is_correct", record)
    for n_users in (2, 3, 10):
        for seed in range(4):
            accuracy_with_others(data, torch.arange(n_users)[:, None].float(), seed)
    assert len(seen) == 60
    for weights in seen:
        assert sorted(weights) == list(range(len(weights)))
        assert all(weights[user] != user for user in range(len(weights)))
    assert len({tuple(weights) for weights in seen if len(weights) == 10}) > 10


def test_other_users_weights_by_hand(data):
    """Two users exchange their weights."""
    weights = torch.tensor([[1.0, 1.0], [-1.0, 0.0]])
    assert accuracy_with_others(data, weights) == pytest.approx([3.5 / 5, 1 / 2])


def test_a_split_of_one_user_has_no_other_users_weights(data):
    def weights_predicted_with(some):
        return set(_predict_split(model_of_two_users(), PackedPairs.pack(some), seed=0))

    assert weights_predicted_with(data) == {OWN, *CONTROLS}
    assert weights_predicted_with(data.select(np.arange(3))) == {OWN, POPULATION}


def test_other_users_weights_depend_on_the_seed_alone():
    planted = plant(users=12, pairs=20, dimension=6)
    basis = torch.from_numpy(planted.directions.T).float()
    weights = torch.from_numpy(planted.deviations).float()
    one, again, other = (accuracy_with_others(planted.data, weights, seed, basis) for seed in (0, 0, 1))
    assert one == again
    assert one != other


def test_true_weights_are_more_accurate_than_other_users():
    planted = plant(users=12, pairs=200, dimension=6, noise=0.1, personal=2, prompts=600)
    order = [int(user.split()[1]) for user in PackedPairs.pack(planted.data).user_ids]
    basis = torch.from_numpy(np.vstack([planted.shared[None], planted.directions]).T).float()
    weights = torch.from_numpy(np.column_stack([np.ones(12), planted.deviations[order]])).float()
    assert np.mean(accuracy(planted.data, weights, basis)) > 0.95
    assert np.mean(accuracy_with_others(planted.data, weights, 0, basis)) < 0.8


def test_every_rank_has_predictions_with_own_weights_and_personal_ranks_with_the_controls(predictions):
    assert list(predictions.models) == [1, 2, 3]
    assert {weights for rank, _, weights in predictions.correct if rank == 3} == {OWN, *CONTROLS}
    assert {weights for rank, _, weights in predictions.correct if rank == 1} == {OWN}


def test_unseen_users_are_adapted(predictions, splits):
    assert set(splits.train_unseen.user_ids) <= set(predictions.models[3].user_ids)


def test_focus_rank_is_that_of_the_report(predictions, report):
    assert predictions.focus_rank == report.focus_rank == predictions.chosen_rank > 1
    assert replace(predictions, chosen_rank=1).focus_rank == 3


def test_focus_rank_of_the_reference_head_alone():
    """As with `--ranks 0`: the single Bradley-Terry model is added as a baseline and does not take its place."""
    splits = split(plant(users=6, pairs=20, dimension=6, prompts=60, reference=True).data)
    found = predict(dict(train_ranks(splits.train_seen, [0], TrainingConfig())), splits)
    assert list(found.models) == [0, 1]
    assert found.focus_rank == found.chosen_rank == 0


def test_a_split_without_comparisons_has_no_accuracy():
    splits = split(plant(users=6, pairs=20, dimension=6, prompts=60).data, unseen_users=0)
    found = predict(dict(train_ranks(splits.train_seen, [1], TrainingConfig())), splits)
    accuracies = found.accuracies(1)
    assert list(accuracies) == list(SPLITS)
    assert [name for name, one in accuracies.items() if one is None] == ["train_unseen", "test_unseen"]
    assert found.differences() == ()


def test_the_table_of_predictions_gives_the_accuracies(predictions):
    table = predictions.to_table().to_pydict()
    assert list(table) == ["cell", "user_id", "prompt_id", "share", "rank_1", "rank_2", "rank_3"]
    for name in TEST_SPLITS:
        rows = np.flatnonzero(np.array(table["cell"]) == name)
        users = {table["user_id"][i] for i in rows}
        mean = sum(table["share"][i] * table["rank_3"][i] for i in rows) / len(users)
        assert mean == pytest.approx(predictions.accuracies(3)[name].mean)


def test_the_table_of_predictions_names_users_and_prompts(predictions, splits):
    table = predictions.to_table().to_pydict()
    rows = zip(table["cell"], table["user_id"], table["prompt_id"], strict=True)
    assert sorted((user, prompt) for name, user, prompt in rows if name == "test_seen") == sorted(
        zip(splits.test_seen.user_ids, splits.test_seen.prompt_ids, strict=True)
    )
