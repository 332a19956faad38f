"""Who gains: every user's gain with an interval, their place on the map, and how far people agree."""

import numpy as np
import pytest
import torch

from lorerm.data.schema import TEST_SPLITS
from lorerm.embedding.embedded_preferences import EmbeddedPreferences
from lorerm.evaluation.accuracy import Cell
from lorerm.evaluation.measured import OWN, Measured
from lorerm.evaluation.per_user import _agreement_of_choices, _intervals, agreement, gains_of_users


@pytest.fixture(scope="module")
def gains(measured):
    return gains_of_users(measured)


def test_every_test_user_stands_there_once(gains, cells):
    for name in TEST_SPLITS:
        users = [row["user_id"] for row in gains["users"] if row["cell"] == name]
        assert sorted(users) == sorted(set(getattr(cells, name).user_ids))
        assert [row["gain"] for row in gains["users"] if row["cell"] == name] == gains[name]


def test_answers_and_pairs_are_counted(gains, cells):
    for row in gains["users"]:
        answers = cells.train_seen if row["cell"] == "test_seen" else cells.train_unseen
        assert row["n_answers"] == list(answers.user_ids).count(row["user_id"])
        assert row["n_pairs"] == list(getattr(cells, row["cell"]).user_ids).count(row["user_id"])
        assert row["ci95"][0] <= row["gain"] <= row["ci95"][1]
        assert -1 <= row["ci95"][0] < row["ci95"][1] <= 1


def test_distances_on_the_map_are_those_between_rewards(gains, measured):
    """Of three directions the shared one is left out, so that two axes hold all else; the first holds most of it."""
    model, cell = measured.models[gains["rank"]], measured.cells["train_seen"]
    assert gains["rank"] == 3
    weights = torch.stack([model.user_weights(row["user_id"]) for row in gains["users"]]).double()
    projected = cell.project(model.basis).double()
    shared = projected @ model.population_weights.double()
    rewards = projected @ weights.t()
    rewards -= torch.outer(shared, shared @ rewards / (shared @ shared))
    places = torch.tensor([row["place"] for row in gains["users"]], dtype=torch.float64)
    on_map, between = torch.pdist(places), torch.pdist(rewards.t().contiguous())
    torch.testing.assert_close(on_map / on_map.max(), between / between.max(), atol=1e-4, rtol=0)
    assert places[:, 0].std() >= places[:, 1].std() > 0


def test_an_interval_of_one_user_covers_the_truth():
    """2000 users with 20 pairs each whose true gain is 10 points; some have no difference at all, yet an interval."""
    rng = np.random.default_rng(0)
    n, m = 2000, 20
    rows = np.arange(n * m)
    data = EmbeddedPreferences.from_arrays(
        np.zeros((2 * n * m, 1), dtype=np.float32), 2 * rows, 2 * rows + 1, [f"u{i // m}" for i in rows]
    )
    cell = Cell.pack(data)
    kind = rng.random(n * m)
    own, shared = (kind < 0.15) | (kind > 0.6), ((kind >= 0.15) & (kind < 0.2)) | (kind > 0.6)
    gain, low, high = _intervals(own.astype(float), shared.astype(float), cell)
    assert gain.mean() == pytest.approx(0.1, abs=0.01)
    assert 0.93 < np.mean((low <= 0.1) & (high >= 0.1)) < 0.995
    assert (high > low).all()


def test_agreement_by_hand():
    """Three users on one pair, two of one mind: one of three twos agrees; the fourth user's pair is nobody else's."""
    responses = np.eye(4, dtype=np.float32)
    data = EmbeddedPreferences.from_arrays(responses, [0, 0, 1, 2], [1, 1, 0, 3], ["a", "b", "c", "d"])
    cell = Cell.pack(data)
    measured = Measured({}, {"train_seen": cell, "test_seen": None}, 1, None, None, {})
    assert _agreement_of_choices(measured) == {"share": pytest.approx(1 / 3), "n_compared": 3, "n_response_pairs": 1}


def test_who_answers_again_is_not_two_people():
    """One user alone agrees with nobody; beside another one, each of the own answers is compared with theirs."""
    responses = np.eye(4, dtype=np.float32)
    alone = Cell.pack(EmbeddedPreferences.from_arrays(responses, [0, 0, 1], [1, 1, 0], ["a", "a", "a"]))
    other = Cell.pack(EmbeddedPreferences.from_arrays(responses, [0, 2], [1, 3], ["b", "b"]))
    for cells, expected in (
        ({"train_seen": alone}, None),
        (
            {"train_seen": alone, "train_unseen": other},
            {"share": pytest.approx(2 / 3), "n_compared": 3, "n_response_pairs": 1},
        ),
    ):
        assert _agreement_of_choices(Measured({}, cells, 1, None, None, {})) == expected


def test_agreement_of_models_is_that_of_all_twos(measured):
    found = agreement(measured)["models"]
    model, cell = measured.models[found["rank"]], measured.cells["test_seen"]
    ahead = (cell.project(model.basis) @ model.weights.t() > 0).numpy()
    n = ahead.shape[1]
    twos = [(ahead[:, i] == ahead[:, j]).mean() for i in range(n) for j in range(i)]
    assert found["share"] == pytest.approx(np.mean(twos))
    assert found["n_users"] == n


def test_without_a_personal_rank_nobody_gains(measured):
    alone = Measured(
        {1: measured.models[1]},
        measured.cells,
        1,
        measured.config,
        measured.adaptation,
        {key: values for key, values in measured.right.items() if key[0] == 1 and key[2] == OWN},
    )
    assert gains_of_users(alone) == {
        "rank": 1, "against": "shared_direction", "test_seen": [], "test_unseen": [], "users": []
    }  # fmt: skip
    assert agreement(alone)["models"] is None
