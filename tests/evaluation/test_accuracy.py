"""Accuracy by user: ties, weights, unknown users, and weights that are never one's own."""

import numpy as np
import pytest
import torch

from lorerm.embedding.embedded_preferences import EmbeddedPreferences
from lorerm.evaluation.accuracy import Cell
from lorerm.model.prior import WeightPrior
from lorerm.model.reward_model import LowRankRewardModel
from planted import plant

# One feature per direction: user "v" likes the first, user "u" dislikes it.
RESPONSES = np.array([[1, 0], [0, 0], [3, 0], [0, 5], [0, 5]], dtype=np.float32)
BASIS = torch.eye(2)


@pytest.fixture
def cell():
    """User v: right (weight 1), wrong (3), tie (1); user u: right, wrong on the same feature."""
    return Cell.pack(
        EmbeddedPreferences.from_arrays(
            RESPONSES, [0, 1, 3, 1, 2], [1, 2, 4, 0, 1], ["v", "v", "v", "u", "u"], weights=[1, 3, 1, 1, 1]
        )
    )


def accuracy(cell, weights, basis=BASIS):
    """Each user's accuracy."""
    return cell.sample.by_user(cell.right(cell.project(basis), weights)[:, None])[:, 0].tolist()


def with_others(cell, weights, seed=0, basis=BASIS):
    """Each user's accuracy under somebody else's weights."""
    return cell.sample.by_user(cell.right_with_others(cell.project(basis), weights, seed)[:, None])[:, 0].tolist()


def test_by_hand(cell):
    """A tie counts as wrong; judgements weigh within their user."""
    assert cell.user_ids == ("v", "u")
    assert (cell.n_pairs, len(cell.pairs)) == (5, 5)
    weights = torch.tensor([[1.0, 1.0], [-1.0, 0.0]])
    assert accuracy(cell, weights) == [1 / 5, 1 / 2]
    assert accuracy(cell, -weights) == [3 / 5, 1 / 2]
    assert accuracy(cell, torch.zeros(2, 2)) == [0, 0]
    assert accuracy(cell, torch.tensor([1.0, 1.0])) == accuracy(cell, torch.ones(2, 2))


def test_prompts_are_numbered_in_the_order_of_the_packed_pairs():
    data = EmbeddedPreferences.from_arrays(RESPONSES, [0, 1, 2], [1, 2, 0], ["v", "u", "v"], prompt_ids=["p", "q", "q"])
    cell = Cell.pack(data)
    assert [cell.prompt_ids[prompt] for prompt in cell.prompt] == ["p", "q", "q"]
    assert [cell.user_ids[user] for user in cell.sample.user] == ["v", "v", "u"]
    assert (cell.rows[0].tolist(), cell.rows[1].tolist()) == ([0, 2, 1], [1, 0, 2])


def test_an_empty_cell_is_none():
    data = EmbeddedPreferences.from_arrays(RESPONSES, [0], [1], ["v"])
    assert Cell.pack(data.select(np.array([], dtype=np.int64))) is None


def test_users_whom_the_model_does_not_know_have_the_populations_weights(cell):
    model = LowRankRewardModel(
        basis=BASIS,
        weights=torch.tensor([[9.0, 9.0], [5.0, 6.0]]),
        user_ids=("somebody", "u"),
        prior=WeightPrior(torch.tensor([1.0, 2.0]).double(), torch.eye(2).double()),
        temperature=1.0,
        requested_rank=2,
    )
    assert cell.weights_of(model).tolist() == [[1.0, 2.0], [5.0, 6.0]]


def test_nobody_keeps_their_own_weights(cell, monkeypatch):
    seen = []

    def spy(self, projected, weights):
        seen.append(weights[:, 0].tolist())
        return np.zeros(self.n_pairs)

    monkeypatch.setattr(Cell, "right", spy)
    for n_users in (2, 3, 10):
        for seed in range(4):
            cell.right_with_others(cell.project(BASIS), torch.arange(n_users)[:, None].float(), seed=seed)
    assert len(seen) == 60
    for weights in seen:
        assert sorted(weights) == list(range(len(weights)))
        assert all(weights[user] != user for user in range(len(weights)))
    assert len({tuple(weights) for weights in seen if len(weights) == 10}) > 10


def test_others_weights_by_hand(cell):
    """With two users there is one swap; with one user there is nobody to swap with."""
    weights = torch.tensor([[1.0, 1.0], [-1.0, 0.0]])
    assert with_others(cell, weights) == [3 / 5, 1 / 2]
    assert cell.right_with_others(cell.project(BASIS), weights[:1], seed=0) is None


def test_others_weights_depend_on_the_seed_alone():
    planted = plant(users=12, pairs=20, dimension=6)
    cell = Cell.pack(planted.data)
    basis = torch.from_numpy(planted.directions.T).float()
    weights = torch.from_numpy(planted.deviations).float()
    one, again, other = (with_others(cell, weights, seed, basis) for seed in (0, 0, 1))
    assert one == again
    assert one != other


def test_the_truth_is_more_accurate_than_anybody_elses():
    planted = plant(users=12, pairs=200, dimension=6, noise=0.1, personal=2, prompts=600)
    cell = Cell.pack(planted.data)
    order = [int(user.split()[1]) for user in cell.user_ids]
    basis = torch.from_numpy(np.vstack([planted.shared[None], planted.directions]).T).float()
    weights = torch.from_numpy(np.column_stack([np.ones(12), planted.deviations[order]])).float()
    assert np.mean(accuracy(cell, weights, basis)) > 0.95
    assert np.mean(with_others(cell, weights, 0, basis)) < 0.8
