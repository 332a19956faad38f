"""Adaptation: the posterior under the model's prior, from no comparisons to many, and the published few-shot stage."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lorerm.embedding.encoder import EncoderIdentity
from lorerm.errors import ConfigError, DataError
from lorerm.model.posterior import solve
from lorerm.training.adaptation import adapt
from lorerm.training.config import AdaptationConfig, TrainingConfig
from lorerm.training.train import train
from planted import mean_accuracy
from refusals import refused


@pytest.fixture(scope="module")
def model(models):
    return models[3]


def first_comparisons(data, n_shots):
    """Return the first few comparisons of each user."""
    users = np.asarray(data.user_ids)
    kept = np.concatenate([np.flatnonzero(users == user)[:n_shots] for user in dict.fromkeys(data.user_ids)])
    return data.select(np.sort(kept))


def test_default_adaptation_is_the_posterior_of_projected_differences(model, splits):
    data = splits.train_unseen
    found = adapt(model, data)
    names = tuple(dict.fromkeys(data.user_ids))
    assert found.user_ids == names
    chosen, rejected = data.rows()
    projected = torch.from_numpy(data.responses[chosen] - data.responses[rejected]) @ model.basis
    user = torch.tensor([names.index(user) for user in data.user_ids])
    order = torch.argsort(user, stable=True)
    expected = solve(projected[order], user[order], torch.ones(len(data)), len(names), model.prior, model.temperature)
    torch.testing.assert_close(found.weights, expected.weights.float(), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.covariance, expected.covariance.float(), rtol=1e-3, atol=1e-3)


def test_the_order_of_comparisons_and_users_does_not_matter(model, splits):
    data = splits.train_unseen
    found = adapt(model, data)
    shuffled = adapt(model, data.select(np.random.default_rng(0).permutation(len(data))))
    assert set(shuffled.user_ids) == set(found.user_ids)
    for user in found.user_ids:
        torch.testing.assert_close(shuffled[user], found[user], rtol=1e-4, atol=1e-4)


def test_users_are_adapted_independently(model, splits):
    found = adapt(model, splits.train_unseen)
    one = found.user_ids[2]
    alone = adapt(model, splits.train_unseen.select(np.flatnonzero(np.asarray(splits.train_unseen.user_ids) == one)))
    torch.testing.assert_close(alone[one], found[one], rtol=1e-4, atol=1e-4)


def test_seen_users_adapted_to_their_training_comparisons_keep_their_weights(model, splits):
    found = adapt(model, splits.train_seen)
    assert found.user_ids == model.user_ids
    torch.testing.assert_close(found.weights, model.weights, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.covariance, model.covariance, rtol=1e-4, atol=1e-4)


def test_accuracy_grows_with_few_shot_comparisons_and_one_is_no_worse_than_none(model, splits):
    population = mean_accuracy(model, splits.test_unseen, model.population_weights)
    accuracy = {}
    for n_shots in (1, 3, 10, 30):
        adapted = model.with_users(adapt(model, first_comparisons(splits.train_unseen, n_shots)))
        accuracy[n_shots] = mean_accuracy(adapted, splits.test_unseen)
    assert accuracy[1] > population - 0.01
    assert accuracy[3] > population
    assert accuracy[10] > population + 0.05
    assert accuracy[30] > accuracy[3]


def test_no_comparisons_give_no_users(model, splits):
    """A split without unseen users has no comparisons to adapt to."""
    empty = splits.train_unseen.select(np.array([], dtype=np.int64))
    for config in (None, AdaptationConfig(recipe="paper")):
        users = adapt(model, empty, config)
        assert len(users) == 0
        assert model.with_users(users).user_ids == model.user_ids


def test_a_single_bradley_terry_model_has_the_same_weights_for_all_users(models, splits):
    found = adapt(models[1], splits.train_unseen)
    assert (found.weights == models[1].population_weights).all()
    assert (found.covariance == 0).all()


def test_comparisons_of_another_dimension_or_encoder_are_refused(model, splits):
    narrow = replace(splits.train_unseen, responses=splits.train_unseen.responses[:, :5])
    with refused(DataError, "dimension 5", "has 16", argument="data"):
        adapt(model, narrow)
    ours, theirs = (EncoderIdentity(name, "1", "t", "last-token", "float32", None, 16) for name in ("ours", "theirs"))
    foreign = replace(splits.train_unseen, encoder=theirs)
    with refused(DataError, argument="data"):
        adapt(replace(model, encoder=ours), foreign)
    assert len(adapt(model, foreign)) > 0


def test_the_published_stage_is_refused_for_free_weights(model, models, splits):
    with refused(ConfigError, "free", argument="recipe"):
        adapt(model, splits.train_unseen, AdaptationConfig(recipe="paper"))
    one = adapt(models[1], splits.train_unseen, AdaptationConfig(recipe="paper", steps=2))
    assert (one.weights == 1).all()


def test_a_paper_model_can_be_adapted_by_both_recipes(splits):
    model = train(splits.train_seen, TrainingConfig(recipe="paper", rank=3, steps=60))
    assert model.weight_space == "simplex"
    published = adapt(model, splits.train_unseen, AdaptationConfig(recipe="paper", steps=50))
    assert published.covariance is None
    convex = adapt(model, splits.train_unseen)
    assert convex.covariance.shape == (len(convex), 3, 3)
    for users in (published, convex):
        assert float(users.weights.min()) > 0
        torch.testing.assert_close(users.weights.sum(dim=1), torch.ones(len(users)))


def test_the_published_stage_depends_on_its_seed(splits):
    model = train(splits.train_seen, TrainingConfig(recipe="paper", rank=3, steps=20))
    one, again, other = (
        adapt(model, splits.train_unseen, AdaptationConfig(recipe="paper", seed=seed, steps=10)) for seed in (0, 0, 1)
    )
    assert torch.equal(one.weights, again.weights)
    assert not torch.allclose(one.weights, other.weights, atol=1e-2)


def test_the_published_stage_in_blocks_of_users_gives_the_same_weights(splits, monkeypatch):
    """Its random numbers are drawn user by user, with one seed for all blocks."""
    model = train(splits.train_seen, TrainingConfig(recipe="paper", rank=3, steps=20))
    config = AdaptationConfig(recipe="paper", steps=10)
    expected = adapt(model, splits.train_unseen, config)
    monkeypatch.setattr("lorerm.training.adaptation._BLOCK_PAIRS", 100)
    found = adapt(model, splits.train_unseen, config)
    assert found.user_ids == expected.user_ids
    torch.testing.assert_close(found.weights, expected.weights, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("block", [1, 7, 100])
def test_blocks_of_users_give_the_result_of_all_at_once(model, splits, monkeypatch, block):
    data = splits.train_unseen
    shuffled = data.select(np.random.default_rng(0).permutation(len(data)))
    expected = adapt(model, shuffled)
    monkeypatch.setattr("lorerm.training.adaptation._BLOCK_PAIRS", block)
    found = adapt(model, shuffled)
    assert found.user_ids == expected.user_ids
    torch.testing.assert_close(found.weights, expected.weights, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.covariance, expected.covariance, rtol=1e-4, atol=1e-5)


def test_a_repeated_comparison_equals_one_of_weight_two(model, splits):
    data = splits.train_unseen
    twice = data.select(np.concatenate([np.arange(len(data)), np.arange(0, len(data), 2)]))
    weighted = replace(data, weights=np.where(np.arange(len(data)) % 2 == 0, 2.0, 1.0))
    found, expected = adapt(model, twice), adapt(model, weighted)
    torch.testing.assert_close(found.weights, expected.weights, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.covariance, expected.covariance, rtol=1e-4, atol=1e-5)
