"""Gains of users: intervals, positions on the personal axes; agreement between users."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lorerm.data.clustering import Sample
from lorerm.data.schema import TEST_SPLITS
from lorerm.data.splits import Splits
from lorerm.embedding.embedded_preferences import EmbeddedPreferences
from lorerm.evaluation.per_user import _agreement_of_comparisons, _intervals, agreement, user_gains
from lorerm.evaluation.predictions import OWN, project
from lorerm.evaluation.report import ComparisonAgreement, Gains


@pytest.fixture(scope="module")
def gains(predictions):
    return user_gains(predictions)


def test_every_test_user_is_there_once(gains, splits):
    for name in TEST_SPLITS:
        users = gains.users_by_split[name]
        assert sorted(user.user_id for user in users) == sorted(set(getattr(splits, name).user_ids))
        assert tuple(user.gain for user in users) == gains.by_split[name]


def test_comparisons_are_counted(gains, splits):
    assert len(gains.users) == 30
    for user in gains.users:
        fitted = splits.train_seen if user.split == "test_seen" else splits.train_unseen
        assert user.n_fitted == list(fitted.user_ids).count(user.user_id)
        assert user.n_test == list(getattr(splits, user.split).user_ids).count(user.user_id)
        assert -1 <= user.ci95[0] <= user.gain <= user.ci95[1] <= 1
        assert user.ci95[0] < user.ci95[1]


def test_distances_between_positions_are_those_between_rewards(gains, predictions):
    """Of three directions the shared one is left out, so that two axes have all the rest; the first has most of it."""
    model, pairs = predictions.models[gains.rank], predictions.pairs["train_seen"]
    assert gains.rank == 3
    weights = torch.stack([model.user_weights(user.user_id) for user in gains.users]).double()
    projected = project(pairs, model.basis).double()
    shared = projected @ model.population_weights.double()
    rewards = projected @ weights.t()
    rewards -= torch.outer(shared, shared @ rewards / (shared @ shared))
    positions = torch.tensor([user.position for user in gains.users], dtype=torch.float64)
    on_axes, between = torch.pdist(positions), torch.pdist(rewards.t().contiguous())
    torch.testing.assert_close(on_axes / on_axes.max(), between / between.max(), atol=1e-4, rtol=0)
    assert positions[:, 0].std() >= positions[:, 1].std() > 0


def test_an_interval_of_one_user_covers_the_truth():
    """2000 users with 20 comparisons each whose true gain is 0.1; some have no difference at all, yet an interval."""
    rng = np.random.default_rng(0)
    n, m = 2000, 20
    sample = Sample(np.repeat(np.arange(n), m), np.arange(n * m), np.full(n * m, 1 / m))
    kind = rng.random(n * m)
    own, shared = (kind < 0.15) | (kind > 0.6), ((kind >= 0.15) & (kind < 0.2)) | (kind > 0.6)
    gain, low, high = _intervals(own.astype(float), shared.astype(float), sample)
    assert gain.mean() == pytest.approx(0.1, abs=0.01)
    assert 0.93 < np.mean((low <= 0.1) & (high >= 0.1)) < 0.995
    assert (high > low).all()


def splits_of(users, chosen, rejected, labels):
    data = EmbeddedPreferences.from_arrays(np.eye(4, dtype=np.float32), chosen, rejected, users)
    return Splits.from_labels(data, labels)


def test_agreement_by_hand():
    """Users a and b prefer the same of two responses, c the other: one of three pairs agrees. User d is alone."""
    splits = splits_of(["a", "b", "c", "d"], [0, 0, 1, 2], [1, 1, 0, 3], ["train_seen"] * 4)
    assert _agreement_of_comparisons(splits) == ComparisonAgreement(pytest.approx(1 / 3), 3, 1)


def test_repeated_comparisons_of_one_user_are_not_compared_with_each_other():
    alone = splits_of(["a", "a", "a"], [0, 0, 1], [1, 1, 0], ["train_seen"] * 3)
    assert _agreement_of_comparisons(alone) is None
    # Each of user a's three comparisons is compared with b's only one of those responses.
    labels = ["train_seen"] * 3 + ["train_unseen"] * 2
    both = splits_of(["a", "a", "a", "b", "b"], [0, 0, 1, 0, 2], [1, 1, 0, 1, 3], labels)
    assert _agreement_of_comparisons(both) == ComparisonAgreement(pytest.approx(2 / 3), 3, 1)


def test_agreement_of_models_is_the_mean_over_pairs_of_users(predictions):
    found = agreement(predictions).models
    model, pairs = predictions.models[found.rank], predictions.pairs["test_seen"]
    ahead = (project(pairs, model.basis) @ model.weights.t() > 0).numpy()
    n = ahead.shape[1]
    shares = [(ahead[:, i] == ahead[:, j]).mean() for i in range(n) for j in range(i)]
    assert found.share == pytest.approx(np.mean(shares))
    assert (found.rank, found.n_users) == (3, n)


def test_users_of_whom_one_prefers_neither_response_agree_by_half(predictions):
    """Of three users, one has weights of 0: the two pairs with that user agree by half."""
    rank = predictions.focus_rank
    model = predictions.models[rank]
    own = model.weights[:1].repeat(3, 1) * torch.tensor([[1.0], [1.0], [0.0]])
    nothing = {"covariance": None, "comparisons": None, "validation_loss": None}
    three = replace(model, weights=own, user_ids=("a", "b", "c"), **nothing)
    found = agreement(replace(predictions, models={**predictions.models, rank: three})).models
    assert found.share == pytest.approx((1 + 0.5 + 0.5) / 3)


def test_the_interval_of_a_user_counts_half_a_comparison_as_half():
    """A user who gains half of every comparison gains one half, without variance between the comparisons."""
    sample = Sample(np.zeros(100, int), np.arange(100), np.full(100, 0.01))
    gain, low, high = _intervals(np.ones(100), np.full(100, 0.5), sample)
    assert gain[0] == pytest.approx(0.5)
    assert 0.4 < low[0] < 0.5 < high[0] < 0.6


def test_without_a_personal_rank_no_user_gains(predictions):
    alone = replace(
        predictions,
        models={1: predictions.models[1]},
        chosen_rank=1,
        correct={key: values for key, values in predictions.correct.items() if key[0] == 1 and key[2] == OWN},
    )
    assert user_gains(alone) == Gains(1, "shared_direction", (), ())
    assert agreement(alone).models is None
